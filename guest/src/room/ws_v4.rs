//! Turns of 0.4 clients over WebSocket.

use super::Room;
use super::answered::Request;
use super::beginning::{Asked, NotBegun};
use super::connection::{self, Position};
use super::fault::Fault;
use super::log::PushError;
use super::pace::{self, Pace};
use crate::code::Code;
use crate::imports::{ConnectionId, Event, Imports, Method};
use crate::limits::PULLS_MAX;
use crate::protocol::event;
use crate::protocol::v4::{self, Call, Group, Message, Pull, Push};

impl Room {
    pub(super) fn message_v4(
        &mut self,
        imports: &mut impl Imports,
        id: ConnectionId,
        frame: &[u8],
    ) {
        let message = v4::decode(frame, Group::Ws);
        let requests = self.requests_of(id, &message, frame.len());
        match self.pace(imports, id, requests) {
            Pace::Served => {}
            Pace::Refused(retry_after_ms) => {
                let fault = Fault::too_many_requests(retry_after_ms);
                return self.refuse_v4(imports, id, &message, &fault);
            }
            Pace::Flooding => {
                return self.close(imports, id, Code::TooManyRequests);
            }
        }
        match message {
            Ok(Message::Ping) => imports.send(&[id], v4::PONG),
            Ok(Message::Eof) => {}
            Ok(Message::Ack(request_id)) => self.ack(imports, id, &request_id),
            Ok(Message::Interrupt(request_id)) => self.interrupt(imports, id, &request_id),
            Ok(Message::Request(request_id, Ok(Call::Pull(pull)))) => {
                self.pull_v4(imports, id, &request_id, &pull);
            }
            Ok(Message::Request(request_id, Ok(Call::Push(push)))) => {
                self.push_v4(imports, id, &request_id, &push);
            }
            // Offered over HTTP only; decode has refused it.
            Ok(Message::Request(_, Ok(Call::Ping(_)))) => {}
            Ok(Message::Request(request_id, Err(error))) => {
                let fault = Fault::from(error);
                let request = Request::of(Some(id), Method::Other, &request_id);
                self.answered(imports, request, Some(fault.word()));
                self.end_request(imports, id, &request_id, &fault.exit(&request_id));
            }
            Err(words) => imports.send(&[id], &v4::defect(&words)),
        }
    }

    /// How many requests a message counts as. What goes with a request that
    /// was counted costs its bytes only: Acks that are due, and the Interrupt
    /// of a pull. All else is a turn that somebody else waits for.
    fn requests_of(
        &mut self,
        id: ConnectionId,
        message: &Result<Message<'_>, String>,
        bytes: usize,
    ) -> u32 {
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
    fn refuse_v4(
        &mut self,
        imports: &mut impl Imports,
        id: ConnectionId,
        message: &Result<Message<'_>, String>,
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
        let is_live =
            matches!(message, Ok(Message::Request(_, Ok(Call::Pull(pull)))) if pull.is_live());
        match message {
            Ok(Message::Request(request_id, _)) if !is_live => {
                let exit = fault.exit(request_id);
                self.end_request(imports, id, request_id, &exit);
            }
            _ => self.close(imports, id, Code::TooManyRequests),
        }
    }

    pub(super) fn ack(&mut self, imports: &mut impl Imports, id: ConnectionId, request_id: &str) {
        let Some(pull) = self.pull(id, request_id) else {
            return self.doubt(imports, id, false);
        };
        let changed = pull.acknowledged();
        if pull.at != Position::Live && !pull.held {
            self.pump(imports, id, request_id);
        } else if changed {
            self.mark_dirty(id);
        }
        self.is_heard(imports, id);
    }

    /// A pull of a 0.4 connection.
    fn pull(&mut self, id: ConnectionId, request_id: &str) -> Option<&mut connection::Pull> {
        self.pulls(id)?
            .iter_mut()
            .find(|pull| pull.id == request_id)
    }

    fn interrupt(&mut self, imports: &mut impl Imports, id: ConnectionId, request_id: &str) {
        let Some(pulls) = self.pulls(id) else {
            return;
        };
        let before = pulls.len();
        pulls.retain(|pull| pull.id != request_id);
        if pulls.len() != before {
            self.mark_dirty(id);
            imports.send(&[id], &v4::exit_interrupted(request_id));
        }
    }

    fn pull_v4(
        &mut self,
        imports: &mut impl Imports,
        id: ConnectionId,
        request_id: &str,
        pull: &Pull<'_>,
    ) {
        self.pulls_now(id);
        self.comes(imports, id);
        let live = pull.is_live();
        let asked = Asked::from(pull);
        if let Some(before) = self.pull(id, request_id) {
            // It is here from now on, whatever is found out next.
            before.held = false;
            before.at = Position::Catching {
                cursor: asked.after,
                until: asked.after,
            };
        }
        let beginning = self.begin_pull(imports, asked);
        let beginning = beginning.and_then(|beginning| {
            self.check_place(id, request_id)?;
            Ok(beginning)
        });
        let request = Request {
            trace: pull.trace.as_deref(),
            ..Request::of(Some(id), Method::Pull, request_id)
        };
        let refused = beginning.as_ref().err().map(NotBegun::word);
        self.answered(imports, request, refused);
        match beginning {
            Ok(beginning) => self.start_pull(imports, id, request_id, live, &beginning),
            // An Exit would silence the client for ever; a close makes it
            // reconnect and pull again (design D10).
            Err(NotBegun::Fault(fault)) if live => self.close(imports, id, fault.code),
            Err(error) => self.end_request(imports, id, request_id, &error.exit(request_id)),
        }
    }

    /// Whether the connection may have this pull beside its others.
    fn check_place(&mut self, id: ConnectionId, request_id: &str) -> Result<(), Fault> {
        let others = self.pulls(id).map_or(0, |pulls| {
            pulls.iter().filter(|pull| pull.id != request_id).count()
        });
        if others >= PULLS_MAX {
            return Err(Fault::too_many_pulls());
        }
        Ok(())
    }

    /// Sends a request's Exit. Nothing follows it, also not from a pull that
    /// the client gave the same id.
    fn end_request(
        &mut self,
        imports: &mut impl Imports,
        id: ConnectionId,
        request_id: &str,
        exit: &str,
    ) {
        if self.take_pull(id, request_id).is_some() {
            self.mark_dirty(id);
        }
        imports.send(&[id], exit);
    }

    fn push_v4(
        &mut self,
        imports: &mut impl Imports,
        id: ConnectionId,
        request_id: &str,
        push: &Push<'_>,
    ) {
        if !push.batch.0.is_empty() {
            self.pushes_again(id);
            self.edits(imports, id, push.batch.0.len());
        }
        let exit = self.push_and_broadcast(imports, Some(id), request_id, push);
        self.end_request(imports, id, request_id, &exit);
    }

    /// Lands a push, shows it to everyone, and returns the Exit for its
    /// sender: after the broadcast, as upstream has it (transcript ws-01).
    /// `from` is the socket that it came on.
    pub(super) fn push_and_broadcast(
        &mut self,
        imports: &mut impl Imports,
        from: Option<ConnectionId>,
        request_id: &str,
        push: &Push<'_>,
    ) -> String {
        let batch = event::events(&push.batch);
        let landed = if push.store_id == self.store_id.as_str() {
            self.push_batch(imports, &batch, push.backend_id.as_deref())
        } else {
            Err(PushError::Fault(Fault::store_mismatch()))
        };
        let request = Request {
            events: batch.len(),
            trace: push.trace.as_deref(),
            ..Request::of(from, Method::Push, request_id)
        };
        self.answered(imports, request, landed.as_ref().err().map(PushError::word));
        match landed {
            Ok(created_at) => {
                // Nothing at all lands anywhere.
                if let Some(created_at) = created_at {
                    self.broadcast(imports, &batch, &created_at, (request_id, from));
                    if let Some(id) = from {
                        self.edits_landed(imports, id);
                    }
                }
                v4::exit_push_success(request_id)
            }
            Err(PushError::BackendIdMismatch { expected, received }) => {
                v4::exit_backend_id_mismatch(request_id, &expected, &received)
            }
            Err(PushError::ServerAhead {
                minimum_expected,
                provided,
            }) => {
                if let Some(id) = from {
                    self.edits_refused(imports, id, batch.len());
                    self.doubt(imports, id, true);
                }
                v4::exit_server_ahead(request_id, minimum_expected, provided)
            }
            Err(PushError::Fault(fault)) => {
                self.report_invalid(imports, from, &batch, &fault);
                fault.exit(request_id)
            }
            // Another writer twice in a turn: as good as a failed storage.
            Err(PushError::Overtaken { .. }) => Fault::overtaken().exit(request_id),
        }
    }
}

impl Room {
    /// Lands a push. If another writer has moved the log on meanwhile, those
    /// who were live get what they missed (I3).
    pub(super) fn push_batch(
        &mut self,
        imports: &mut impl Imports,
        batch: &[Event<'_>],
        backend_id: Option<&str>,
    ) -> Result<Option<String>, PushError> {
        if let Some(first) = batch.first() {
            self.look_again(imports, first.parent_seq_num)
                .map_err(PushError::Fault)?;
        }
        let result = self.log.push(imports, batch, backend_id);
        if let Err(PushError::ServerAhead {
            minimum_expected,
            provided,
        }) = result
            && provided > minimum_expected
        {
            self.log.report_ahead(imports, minimum_expected, provided);
        }
        let Err(PushError::Overtaken {
            believed,
            minimum_expected,
            provided,
        }) = result
        else {
            return result;
        };
        self.overtaken(imports, &believed);
        Err(PushError::ServerAhead {
            minimum_expected,
            provided,
        })
    }
}
