//! Turns of 0.4 clients over HTTP: one request, one RPC array.

use super::Room;
use super::fault::Fault;
use super::paged::{Answer, Form, Page};
use super::ws_v4::{call_fault, exit_fault};
use crate::admission::Admission;
use crate::imports::Imports;
use crate::protocol::Transport;
use crate::protocol::v4::{self, Call, Group, Message};

/// The answer to a request that is not looked at further.
fn refused(body: &[u8], fault: &Fault) -> Page {
    match v4::decode(body, Group::Http) {
        Ok(Message::Request(id, _)) => Page::last(format!("[{}]", exit_fault(&id, fault))),
        _ => Page::last(format!("[{}]", v4::defect(&fault.message))),
    }
}

impl Room {
    /// An admitted HTTP request, or a call by another Durable Object.
    pub fn request(
        &mut self,
        imports: &mut impl Imports,
        admission: &Admission,
        body: &[u8],
    ) -> Answer {
        self.wake_subscribers(imports);
        let (status, first) = match admission.transport {
            Transport::DoRpc => (200, self.call(imports, admission, body)),
            Transport::HttpV4 | Transport::WsV4 | Transport::WsV3 => {
                match self.pace_of_principal(imports, &admission.principal).into() {
                    Ok(()) => self.answer(imports, body),
                    Err(fault) => (429, refused(body, &fault)),
                }
            }
        };
        let mut headers = admission.response_headers.clone();
        headers.push(("content-type".to_owned(), "application/json".to_owned()));
        self.write_attachments(imports);
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
            Ok(Message::Request(id, Ok(Call::Push(push)))) => {
                (200, array(&self.push_and_broadcast(imports, &id, &push)))
            }
            Ok(Message::Request(id, Ok(Call::Ping(ping)))) => {
                let exit = if ping.store_id == self.store_id.as_str() {
                    v4::exit_ping_success(&id)
                } else {
                    exit_fault(&id, &Fault::store_mismatch())
                };
                (200, array(&exit))
            }
            Ok(Message::Request(id, Err(error))) => {
                (200, array(&exit_fault(&id, &call_fault(error))))
            }
            Err(words) => (400, array(&v4::defect(&words))),
        }
    }
}
