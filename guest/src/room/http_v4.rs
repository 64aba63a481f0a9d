//! Turns of 0.4 clients over HTTP: one request, one RPC array. A pull of any
//! length is written page by page, each a turn of its own, and what the next
//! page needs travels with the host: nothing is kept here.

use serde::{Deserialize, Serialize};

use super::Room;
use super::fault::Fault;
use super::subscriptions::page_info;
use super::ws_v4::{call_fault, exit_fault};
use crate::admission::Admission;
use crate::imports::Imports;
use crate::limits::WINDOW_CHUNKS_MAX;
use crate::protocol::chunk::Packing;
use crate::protocol::v4::{self, Call, Group, Message, PageInfo, Pull};

/// The head of an HTTP answer with its first page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status: 200 even for RPC errors, as upstream has it.
    pub status: u16,
    /// Its headers.
    pub headers: Vec<(String, String)>,
    /// The body's beginning.
    pub first: Page,
}

/// One piece of an HTTP answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The next bytes of the body.
    pub body: String,
    /// What [`Room::resume`] needs to go on; `None` when it is complete.
    pub continuation: Option<String>,
}

impl Page {
    fn last(body: String) -> Self {
        Self {
            body,
            continuation: None,
        }
    }
}

/// Where a paged pull stands.
#[derive(Debug, Serialize, Deserialize)]
struct Continuation {
    id: String,
    cursor: u64,
    until: u64,
    backend_id: String,
}

impl Room {
    /// An admitted HTTP request.
    pub fn request(
        &mut self,
        imports: &mut impl Imports,
        admission: &Admission,
        body: &[u8],
    ) -> Answer {
        let (status, first) = self.answer(imports, body);
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
                (200, self.pull_http(imports, &id, &pull))
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

    fn pull_http(&mut self, imports: &mut impl Imports, id: &str, pull: &Pull<'_>) -> Page {
        let failed = |exit: String| Page::last(format!("[{exit}]"));
        if pull.store_id != self.store_id.as_str() {
            return failed(exit_fault(id, &Fault::store_mismatch()));
        }
        let cursor = pull.cursor().map_or(0, v4::Cursor::after);
        let info = self
            .look_again(imports, cursor)
            .and_then(|()| self.log.info(imports));
        let info = match info {
            Ok(info) => info,
            Err(fault) => return failed(exit_fault(id, &fault)),
        };
        if let Some(cursor) = pull.cursor()
            && cursor.backend_id != info.backend_id
        {
            return failed(v4::exit_backend_id_mismatch(
                id,
                &info.backend_id,
                &cursor.backend_id,
            ));
        }
        if cursor >= info.head {
            let chunk = v4::chunk(id, "", PageInfo::NoMore, &info.backend_id);
            let exit = v4::exit_stream_success(id);
            return Page::last(format!("[{chunk},{exit}]"));
        }
        let mut page = self.next_page(
            imports,
            Continuation {
                id: id.to_owned(),
                cursor,
                until: info.head,
                backend_id: info.backend_id,
            },
        );
        // A page begins with the comma that parts it from the one before.
        page.body.replace_range(..1, "[");
        page
    }

    /// The next page of an answer.
    pub fn resume(&mut self, imports: &mut impl Imports, continuation: &str) -> Page {
        match serde_json::from_str(continuation) {
            Ok(continuation) => self.next_page(imports, continuation),
            // Not ours: end the array, so that the answer is still JSON.
            Err(_) => Page::last("]".to_owned()),
        }
    }

    fn next_page(&mut self, imports: &mut impl Imports, mut at: Continuation) -> Page {
        let ended = |exit: String| Page::last(format!(",{exit}]"));
        let info = match self.log.info(imports) {
            Ok(info) => info,
            Err(fault) => return ended(exit_fault(&at.id, &fault)),
        };
        if info.backend_id != at.backend_id {
            return ended(v4::exit_backend_id_mismatch(
                &at.id,
                &info.backend_id,
                &at.backend_id,
            ));
        }
        let chunks = match self
            .log
            .chunks(imports, at.cursor, Packing::V4, WINDOW_CHUNKS_MAX)
        {
            Ok(chunks) => chunks,
            Err(fault) => return ended(exit_fault(&at.id, &fault)),
        };
        let mut body = String::new();
        for chunk in &chunks {
            body.push(',');
            body.push_str(&v4::chunk(
                &at.id,
                &chunk.items,
                page_info(chunk.last, at.until),
                &at.backend_id,
            ));
            at.cursor = chunk.last;
        }
        // What was pushed since the pull began is the next poll's.
        let continuation = if chunks.is_empty() || at.cursor >= at.until {
            None
        } else {
            serde_json::to_string(&at).ok()
        };
        if continuation.is_none() {
            body.push(',');
            body.push_str(&v4::exit_stream_success(&at.id));
            body.push(']');
        }
        Page { body, continuation }
    }
}
