//! Answers of many pages, for clients without sockets: a pull of any
//! length is written page by page, each a turn of its own, and what the next
//! page needs travels with the host: nothing is kept here (I7).

use serde::{Deserialize, Serialize};

use super::Room;
use super::answered::Request;
use super::beginning::{Beginning, NotBegun};
use super::subscriptions::page_info;
use crate::imports::{Imports, Method};
use crate::limits::WINDOW_CHUNKS_MAX;
use crate::protocol::chunk::Packing;
use crate::protocol::{Carrier, Dialect, PageInfo, Pull, Reply, Voice, Why};

/// The head of an answer with its first page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status: 200 even for RPC errors, as upstream has it.
    pub status: u16,
    /// Its headers.
    pub headers: Vec<(String, String)>,
    /// The body's beginning.
    pub first: Page,
}

/// One piece of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The next bytes of the body.
    pub body: String,
    /// What [`Room::resume`] needs to go on; `None` when it is complete.
    pub continuation: Option<String>,
}

impl Page {
    pub(super) fn last(body: String) -> Self {
        Self {
            body,
            continuation: None,
        }
    }
}

/// Who is to be called with what is pushed later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Subscriber {
    pub binding: String,
    pub object_id: String,
    /// Who called, as it was admitted.
    pub principal: String,
}

/// How an answer is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Form {
    /// One RPC array over all pages.
    Http,
    /// An RPC array a page, for another Durable Object, which may want to be
    /// called later.
    Object(Option<Subscriber>),
}

/// Where a paged pull stands.
#[derive(Debug, Serialize, Deserialize)]
struct Continuation {
    id: String,
    dialect: Dialect,
    cursor: u64,
    until: u64,
    backend_id: String,
    form: Form,
    /// Whether anything was written yet.
    begun: bool,
}

impl Continuation {
    /// Wraps a page's messages: an array of its own, or a part of one.
    fn page(mut self, messages: &[String], is_last: bool) -> Page {
        let (open, close) = match (&self.form, self.begun) {
            (Form::Http, true) => (",", if is_last { "]" } else { "" }),
            (Form::Http, false) => ("[", if is_last { "]" } else { "" }),
            (Form::Object(_), _) => ("[", "]"),
        };
        self.begun = true;
        Page {
            body: format!("{open}{}{close}", messages.join(",")),
            continuation: if is_last {
                None
            } else {
                serde_json::to_string(&self).ok()
            },
        }
    }

    fn write(&self, reply: &Reply<'_>) -> String {
        let carrier = match self.form {
            Form::Http => Carrier::Http,
            Form::Object(_) => Carrier::Object,
        };
        let voice = Voice {
            dialect: self.dialect,
            carrier,
        };
        voice.write(&self.id, reply)
    }

    fn chunk(&self, items: &str, page_info: PageInfo) -> String {
        self.write(&Reply::Chunk {
            items,
            page_info,
            backend_id: &self.backend_id,
            why: Why::Pull,
        })
    }
}

impl Room {
    /// Begins the answer to a pull.
    pub(super) fn pull_paged(
        &mut self,
        imports: &mut impl Imports,
        (voice, id): (Voice, &str),
        pull: &Pull<'_>,
        form: Form,
    ) -> Page {
        let beginning = self.begin_pull(imports, pull.into());
        let request = Request {
            trace: pull.trace.as_deref(),
            ..Request::of(None, Method::Pull, id)
        };
        let refused = beginning.as_ref().err().map(NotBegun::word);
        self.answered(imports, request, refused);
        let Beginning { after, info } = match beginning {
            Ok(beginning) => beginning,
            Err(error) => return Page::last(format!("[{}]", voice.write(id, &error.reply()))),
        };
        let at = Continuation {
            id: id.to_owned(),
            dialect: voice.dialect,
            cursor: after,
            until: info.head,
            backend_id: info.backend_id,
            form,
            begun: false,
        };
        if after >= info.head {
            let chunk = at.write(&Reply::nothing(&at.backend_id));
            return self.last_page(imports, at, vec![chunk]);
        }
        self.next_page(imports, at)
    }

    /// The next page of an answer.
    pub fn resume(&mut self, imports: &mut impl Imports, continuation: &str) -> Page {
        self.begin_turn(imports);
        let page = match serde_json::from_str(continuation) {
            Ok(continuation) => self.next_page(imports, continuation),
            // Not ours: end the array, so that the answer is still JSON.
            Err(_) => Page::last("]".to_owned()),
        };
        self.end_turn(imports);
        page
    }

    fn next_page(&mut self, imports: &mut impl Imports, mut at: Continuation) -> Page {
        let info = match self.log.info(imports) {
            Ok(info) => info,
            Err(fault) => {
                let exit = at.write(&fault.reply());
                return at.page(&[exit], true);
            }
        };
        if info.backend_id != at.backend_id {
            let exit = at.write(&Reply::BackendIdMismatch {
                expected: &info.backend_id,
                received: &at.backend_id,
            });
            return at.page(&[exit], true);
        }
        let shape = (at.dialect.codec().item_form(), Packing::Pages);
        let chunks = match self
            .log
            .chunks(imports, at.cursor, shape, WINDOW_CHUNKS_MAX)
        {
            Ok(chunks) => chunks,
            Err(fault) => {
                let exit = at.write(&fault.reply());
                return at.page(&[exit], true);
            }
        };
        let messages: Vec<String> = chunks
            .iter()
            .map(|chunk| at.chunk(&chunk.items, page_info(chunk.last, at.until)))
            .collect();
        let cursor = chunks.last().map_or(at.cursor, |chunk| chunk.last);
        at.cursor = cursor;
        // What was pushed since the pull began is the next poll's, or the
        // subscription's.
        if messages.is_empty() || cursor >= at.until {
            self.last_page(imports, at, messages)
        } else {
            at.page(&messages, false)
        }
    }

    fn last_page(
        &mut self,
        imports: &mut impl Imports,
        at: Continuation,
        mut messages: Vec<String>,
    ) -> Page {
        let exit = match &at.form {
            Form::Object(Some(subscriber)) => {
                self.subscribe(imports, subscriber, (at.dialect, &at.id), at.cursor)
            }
            Form::Http | Form::Object(None) => Ok(()),
        };
        messages.push(match exit {
            Ok(()) => at.write(&Reply::Ended),
            Err(fault) => at.write(&fault.reply()),
        });
        at.page(&messages, true)
    }
}
