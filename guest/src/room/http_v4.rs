//! Turns of 0.4 clients over HTTP: one request, one RPC array.

use super::Room;
use super::answered::Request;
use super::fault::Fault;
use super::paged::{Answer, Form, Page};
use crate::admission::{Admission, refusal};
use crate::imports::{Imports, Level, Method};
use crate::principal;
use crate::protocol::Transport;
use crate::protocol::v4::{self, Call, CallError, Group, Message, Ping};

/// The answer to a request that is not looked at further.
fn refused(body: &[u8], fault: &Fault) -> Page {
    match v4::decode(body, Group::Http) {
        Ok(Message::Request(id, _)) => Page::last(format!("[{}]", fault.exit(&id))),
        _ => Page::last(format!("[{}]", v4::defect(&fault.message))),
    }
}

/// The same for a call by another Durable Object.
fn refused_call(body: &[u8], fault: &Fault) -> Page {
    Page::last(refusal::call_body(
        fault.code.as_str(),
        &fault.message,
        fault.retry_after_ms,
        body,
    ))
}

impl Room {
    /// An admitted HTTP request, or a call by another Durable Object.
    pub fn request(
        &mut self,
        imports: &mut impl Imports,
        admission: &Admission,
        body: &[u8],
    ) -> Answer {
        self.begin_turn(imports);
        let (status, first) = match principal::user_id(&admission.principal) {
            Err(error) => {
                imports.log(Level::Error, &format!("a request is refused: {error}"));
                let fault = Fault::version_unknown();
                match admission.transport {
                    Transport::DoRpc => (200, refused_call(body, &fault)),
                    _ => (fault.code.status(), refused(body, &fault)),
                }
            }
            Ok(_) if admission.transport == Transport::DoRpc => {
                (200, self.call(imports, admission, body))
            }
            Ok(user_id) => match self.pace_of_request(imports, user_id, body.len()).into() {
                Ok(()) => self.answer(imports, body),
                Err(fault) => {
                    let request = Request::of(None, Method::Other, "");
                    self.answered(imports, request, Some(fault.word()));
                    (fault.code.status(), refused(body, &fault))
                }
            },
        };
        let mut headers = admission.response_headers.clone();
        headers.push(("content-type".to_owned(), "application/json".to_owned()));
        self.end_turn(imports);
        Answer {
            status,
            headers,
            first,
        }
    }

    fn answer(&mut self, imports: &mut impl Imports, body: &[u8]) -> (u16, Page) {
        let array = |message: &str| Page::last(format!("[{message}]"));
        match v4::decode(body, Group::Http) {
            Ok(Message::Ping) => (200, array(v4::PONG)),
            Ok(Message::Ack(_) | Message::Interrupt(_) | Message::Eof) => (200, array("")),
            Ok(Message::Request(id, Ok(Call::Pull(pull)))) => {
                (200, self.pull_paged(imports, &id, &pull, Form::Http))
            }
            Ok(Message::Request(id, Ok(Call::Push(push)))) => (
                200,
                array(&self.push_and_broadcast(imports, None, &id, &push)),
            ),
            Ok(Message::Request(id, Ok(Call::Ping(ping)))) => (
                200,
                array(&self.answer_ping(imports, &id, &ping, v4::exit_ping_success)),
            ),
            Ok(Message::Request(id, Err(error))) => {
                (200, array(&self.answer_undecodable(imports, &id, error)))
            }
            Err(words) => (400, array(&v4::defect(&words))),
        }
    }

    /// Answers a Ping that is a request, in a transport's words.
    pub(super) fn answer_ping(
        &self,
        imports: &mut impl Imports,
        id: &str,
        ping: &Ping<'_>,
        success: impl Fn(&str) -> String,
    ) -> String {
        let request = Request::of(None, Method::Ping, id);
        if ping.store_id == self.store_id.as_str() {
            self.answered(imports, request, None);
            return success(id);
        }
        let fault = Fault::store_mismatch();
        self.answered(imports, request, Some(fault.word()));
        fault.exit(id)
    }

    /// Answers a request that cannot be decoded, outside of sockets.
    pub(super) fn answer_undecodable(
        &self,
        imports: &mut impl Imports,
        id: &str,
        error: CallError,
    ) -> String {
        let fault = Fault::from(error);
        let request = Request::of(None, Method::Other, id);
        self.answered(imports, request, Some(fault.word()));
        fault.exit(id)
    }
}
