//! Turns of clients in other Durable Objects: `SyncDoRpc` of
//! `@livestore/sync-cf` 0.4.0 (`src/cf-worker/do/transport/do-rpc-server.ts`).
//!
//! A call is an array of requests. A pull's answer has many pages and ends at
//! the head; what is pushed later reaches a live one by calls to the object
//! that pulled. Such a subscriber is a connection: the host keeps it while
//! the room sleeps, and its deliveries are its Acks.

use super::Room;
use super::connection::{Connection, Position, Pull};
use super::fault::Fault;
use super::paged::{Form, Page, Subscriber};
use crate::admission::Admission;
use crate::imports::{ConnectionId, Imports, SubscribeError};
use crate::protocol::{Call, Carrier, Dialect, Message, Voice, do_rpc};

impl Room {
    /// A call by another Durable Object.
    pub(super) fn call(
        &mut self,
        imports: &mut impl Imports,
        admission: &Admission,
        body: &[u8],
    ) -> Page {
        let messages = match do_rpc::messages(body) {
            Ok(messages) => messages,
            Err(words) => {
                let voice = Voice::of_first(b"", Carrier::Object);
                return Page::last(format!("[{}]", voice.defect(&words)));
            }
        };
        if let [message] = messages.as_slice()
            && let message = message.get().as_bytes()
            && let voice = Voice::of_first(message, Carrier::Object)
            && let Ok(Message::Request(id, Ok(Call::Pull(pull)))) = voice.read(message)
        {
            let subscriber = pull.caller.as_ref().map(|caller| Subscriber {
                binding: caller.binding.clone().into_owned(),
                object_id: caller.object_id.clone().into_owned(),
                principal: admission.principal.clone(),
            });
            if let Some(subscriber) = &subscriber
                && !self.may_subscribe(&subscriber.binding)
            {
                let refused = voice.write(&id, &Fault::not_a_client().reply());
                return Page::last(format!("[{refused}]"));
            }
            return self.pull_paged(imports, (voice, &id), &pull, Form::Object(subscriber));
        }
        let answers: Vec<String> = messages
            .iter()
            .filter_map(|message| self.answer_call(imports, message.get().as_bytes()))
            .collect();
        Page::last(format!("[{}]", answers.join(",")))
    }

    fn answer_call(&mut self, imports: &mut impl Imports, message: &[u8]) -> Option<String> {
        let voice = Voice::of_first(message, Carrier::Object);
        match voice.read(message) {
            Ok(Message::Request(id, Ok(Call::Push(push)))) => {
                Some(self.push_and_broadcast(imports, None, (voice, &id), &push))
            }
            Ok(Message::Request(id, Ok(Call::Ping(ping)))) => {
                Some(self.answer_ping(imports, (voice, &id), &ping))
            }
            Ok(Message::Request(id, Ok(Call::Pull(_)))) => {
                let fault = Fault::invalid_request("A Pull has to be a call's only request.");
                Some(voice.write(&id, &fault.reply()))
            }
            Ok(Message::Request(id, Err(error))) => {
                Some(self.answer_undecodable(imports, (voice, &id), error))
            }
            // Upstream passes over them too.
            Ok(Message::Ping(_) | Message::Ack(_) | Message::Interrupt(_) | Message::Eof) => None,
            // No codec reads it in a call.
            Ok(Message::Request(_, Ok(Call::AdminInfo(_) | Call::AdminReset(_)))) => None,
            Err(words) => Some(voice.defect(&words)),
        }
    }

    /// `DO_RPC_CLIENTS`: who can be named by a caller is the operator's to say.
    fn may_subscribe(&self, binding: &str) -> bool {
        self.do_rpc_clients.iter().any(|client| client == binding)
    }

    /// Subscribes an object from `cursor` on, instead of what it had.
    pub(super) fn subscribe(
        &mut self,
        imports: &mut impl Imports,
        subscriber: &Subscriber,
        (dialect, request_id): (Dialect, &str),
        cursor: u64,
    ) -> Result<(), Fault> {
        let id = imports
            .subscribe(
                &subscriber.binding,
                &subscriber.object_id,
                dialect.codec().callback(),
            )
            .map_err(|error| match error {
                SubscribeError::UnknownBinding | SubscribeError::UnknownObject => {
                    Fault::no_such_object()
                }
                SubscribeError::Unsupported => Fault::unknown_rpc("SyncDoRpc.Pull"),
            })?;
        let pull = Pull::of_subscriber(request_id, cursor);
        let connection = Connection::of_subscriber(dialect, &subscriber.principal, pull)
            .map_err(|_| Fault::version_unknown())?;
        self.connections.insert(id, connection);
        self.mark_dirty(id);
        self.pump(imports, id, request_id);
        Ok(())
    }

    /// A subscriber took a frame.
    pub fn delivered(&mut self, imports: &mut impl Imports, id: ConnectionId) {
        self.begin_turn(imports);
        let request_id = self
            .pulls(id)
            .and_then(|pulls| pulls.first().map(|pull| pull.id.clone()));
        if let Some(request_id) = request_id {
            self.ack(imports, id, &request_id);
        }
        self.end_turn(imports);
    }

    /// Goes on with subscribers that a room which wakes found behind the
    /// head: nobody else would. What they had in flight was told by nobody,
    /// so they start from the last event that they are known to have.
    pub(super) fn wake_subscribers(&mut self, imports: &mut impl Imports) {
        for id in std::mem::take(&mut self.woken) {
            let request_id = self.pulls(id).and_then(|pulls| {
                let pull = pulls.first()?;
                matches!(pull.at, Position::Catching { .. }).then(|| pull.id.clone())
            });
            if let Some(request_id) = request_id {
                self.pump(imports, id, &request_id);
            }
        }
    }
}
