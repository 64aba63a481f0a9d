//! Turns of clients over HTTP: one request, one RPC array.

use super::Room;
use super::answered::Request;
use super::fault::Fault;
use super::paged::{Answer, Form, Page};
use crate::admission::{Admission, refusal};
use crate::imports::{Imports, Level, Method};
use crate::principal::{self, PrincipalError};
use crate::protocol::{Call, CallError, Carrier, Message, Ping, Reply, Voice};

/// The answer to a request that is not looked at further.
fn refused(body: &[u8], fault: &Fault) -> Page {
    let voice = Voice::of_first(body, Carrier::Http);
    let answer = match voice.read(body) {
        Ok(Message::Request(id, _)) => voice.write(&id, &fault.reply()),
        _ => voice.defect(&fault.message),
    };
    Page::last(format!("[{answer}]"))
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
        let speech = admission.speech.ok_or(PrincipalError::UnknownSpeech);
        let is_call = speech
            .as_ref()
            .is_ok_and(|it| it.carrier == Carrier::Object);
        let user_id = speech.and_then(|_| principal::user_id(&admission.principal));
        let (status, first) = match user_id {
            Err(error) => {
                imports.log(Level::Error, &format!("a request is refused: {error}"));
                let fault = Fault::version_unknown();
                if is_call {
                    (200, refused_call(body, &fault))
                } else {
                    (fault.code.status(), refused(body, &fault))
                }
            }
            Ok(_) if is_call => (200, self.call(imports, admission, body)),
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
        let voice = Voice::of_first(body, Carrier::Http);
        match voice.read(body) {
            Ok(Message::Ping(id)) => (200, array(&voice.write(&id, &Reply::Pong))),
            Ok(Message::Ack(_) | Message::Interrupt(_) | Message::Eof) => (200, array("")),
            Ok(Message::Request(id, Ok(Call::Pull(pull)))) => (
                200,
                self.pull_paged(imports, (voice, &id), &pull, Form::Http),
            ),
            Ok(Message::Request(id, Ok(Call::Push(push)))) => (
                200,
                array(&self.push_and_broadcast(imports, None, (voice, &id), &push)),
            ),
            Ok(Message::Request(id, Ok(Call::Ping(ping)))) => {
                (200, array(&self.answer_ping(imports, (voice, &id), &ping)))
            }
            Ok(Message::Request(id, Err(error))) => {
                let answer = self.answer_undecodable(imports, (voice, &id), error);
                (200, array(&answer))
            }
            // No codec reads it over HTTP.
            Ok(Message::Request(_, Ok(Call::AdminInfo(_) | Call::AdminReset(_)))) => {
                (200, array(""))
            }
            Err(words) => (400, array(&voice.defect(&words))),
        }
    }

    /// Answers a Ping that is a request.
    pub(super) fn answer_ping(
        &self,
        imports: &mut impl Imports,
        (voice, id): (Voice, &str),
        ping: &Ping<'_>,
    ) -> String {
        let request = Request::of(None, Method::Ping, id);
        if ping.store_id == self.store_id.as_str() {
            self.answered(imports, request, None);
            return voice.write(id, &Reply::Pinged);
        }
        let fault = Fault::store_mismatch();
        self.answered(imports, request, Some(fault.word()));
        voice.write(id, &fault.reply())
    }

    /// Answers a request that cannot be decoded, outside of sockets.
    pub(super) fn answer_undecodable(
        &self,
        imports: &mut impl Imports,
        (voice, id): (Voice, &str),
        error: CallError,
    ) -> String {
        let fault = Fault::from(error);
        let request = Request::of(None, Method::Other, id);
        self.answered(imports, request, Some(fault.word()));
        voice.write(id, &fault.reply())
    }
}
