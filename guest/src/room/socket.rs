//! Messages of sockets: which of them are served, and by what.

use super::Room;
use super::answered::Request;
use super::connection::{Client, Connection};
use super::fault::Fault;
use super::pace::{self, Pace};
use crate::code::Code;
use crate::imports::{ConnectionId, Imports, Level, Method};
use crate::protocol::{Call, Decoded, Dialect, Message, Reply, Voice};

impl Room {
    /// A frame arrived.
    pub(super) fn read(&mut self, imports: &mut impl Imports, id: ConnectionId, frame: &[u8]) {
        let Some(connection) = self.connections.get_mut(&id) else {
            // It was closed in a turn that is not durable yet.
            return imports.log(Level::Debug, "a frame of a connection that is closed");
        };
        if connection.dialect.is_none()
            && let Some(dialect) = Dialect::of_first(frame)
        {
            connection.dialect = Some(dialect);
            self.dirty.insert(id);
        }
        let voice = connection.voice();
        let is_fed = matches!(connection.client, Client::Feed(_));
        let message = voice.read(frame);
        let requests = self.requests_of(id, &message, frame.len());
        match self.pace(imports, id, requests) {
            Pace::Served => {}
            Pace::Refused(retry_after_ms) if !is_fed => {
                let fault = Fault::too_many_requests(retry_after_ms);
                return self.refuse(imports, id, &message, &fault);
            }
            // An error would leave a client that is fed waiting for ever; one
            // that has to connect again pushes again.
            Pace::Refused(_) | Pace::Flooding => {
                return self.close(imports, id, Code::TooManyRequests);
            }
        }
        match message {
            Ok(Message::Ping(request_id)) => self.reply(imports, id, &request_id, &Reply::Pong),
            Ok(Message::Eof) => {}
            Ok(Message::Ack(request_id)) => self.ack(imports, id, &request_id),
            Ok(Message::Interrupt(request_id)) => self.interrupt(imports, id, &request_id),
            Ok(Message::Request(request_id, Ok(call))) => match call {
                Call::Pull(pull) if is_fed => self.begin_feed(imports, id, &request_id, &pull),
                Call::Pull(pull) => self.begin_pull_of(imports, id, &request_id, &pull),
                Call::Push(push) if is_fed => self.push_of_fed(imports, id, &request_id, &push),
                Call::Push(push) => self.push(imports, id, (voice, &request_id), &push),
                Call::AdminInfo(secret) => self.admin_info(imports, id, &request_id, &secret),
                Call::AdminReset(secret) => self.admin_reset(imports, id, &request_id, &secret),
                // Not offered over sockets: no codec reads one there.
                Call::Ping(_) => {}
            },
            Ok(Message::Request(request_id, Err(error))) => {
                let fault = Fault::from(error);
                let request = Request::of(Some(id), Method::Other, &request_id);
                self.answered(imports, request, Some(fault.word()));
                self.end_request(imports, id, &request_id, &fault.reply());
            }
            Err(words) => imports.send(&[id], &voice.defect(&words)),
        }
    }

    /// How many requests a message counts as. What goes with a request that
    /// was counted costs its bytes only: Acks that are due, and the Interrupt
    /// of a pull. All else is a turn that somebody else waits for.
    fn requests_of(&mut self, id: ConnectionId, message: &Decoded<'_>, bytes: usize) -> u32 {
        let is_due = match message {
            Ok(Message::Ack(request_id)) => self
                .pull(id, request_id)
                .is_some_and(|pull| pull.expects_ack()),
            Ok(Message::Interrupt(request_id)) => self.pull(id, request_id).is_some(),
            _ => false,
        };
        pace::requests_of_bytes(bytes).saturating_add(u32::from(!is_due))
    }

    /// Tells a client that it asks too often: in a way that it survives, and
    /// tries again.
    fn refuse(
        &mut self,
        imports: &mut impl Imports,
        id: ConnectionId,
        message: &Decoded<'_>,
        fault: &Fault,
    ) {
        if let Ok(Message::Request(request_id, call)) = message {
            let method = match call {
                Ok(Call::Pull(_)) => Method::Pull,
                Ok(Call::Push(_)) => Method::Push,
                _ => Method::Other,
            };
            let request = Request::of(Some(id), method, request_id);
            self.answered(imports, request, Some(fault.word()));
        }
        let is_live = matches!(message, Ok(Message::Request(_, Ok(Call::Pull(pull)))) if pull.live);
        match message {
            Ok(Message::Request(request_id, _)) if !is_live => {
                self.end_request(imports, id, request_id, &fault.reply());
            }
            _ => self.close(imports, id, Code::TooManyRequests),
        }
    }

    /// Answers a connection's request, or a part of it.
    pub(super) fn reply(
        &self,
        imports: &mut impl Imports,
        id: ConnectionId,
        request_id: &str,
        reply: &Reply<'_>,
    ) {
        if let Some(voice) = self.voice(id) {
            imports.send(&[id], &voice.write(request_id, reply));
        }
    }

    /// In which words a client is answered; `None` if it was closed in this
    /// turn.
    pub(super) fn voice(&self, id: ConnectionId) -> Option<Voice> {
        self.connections.get(&id).map(Connection::voice)
    }

    /// Answers a request for the last time. Nothing follows, also not from a
    /// pull that the client gave the same id.
    pub(super) fn end_request(
        &mut self,
        imports: &mut impl Imports,
        id: ConnectionId,
        request_id: &str,
        reply: &Reply<'_>,
    ) {
        if let Some(voice) = self.voice(id) {
            let answer = voice.write(request_id, reply);
            self.end_request_with(imports, id, request_id, &answer);
        }
    }

    /// The same with an answer that is written.
    pub(super) fn end_request_with(
        &mut self,
        imports: &mut impl Imports,
        id: ConnectionId,
        request_id: &str,
        answer: &str,
    ) {
        if self.take_pull(id, request_id).is_some() {
            self.mark_dirty(id);
        }
        imports.send(&[id], answer);
    }
}
