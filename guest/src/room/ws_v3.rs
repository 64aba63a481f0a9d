//! Turns of 0.3 clients over WebSocket.

use subtle::ConstantTimeEq;

use super::Room;
use super::answered::Request;
use super::beginning::{Asked, Beginning, NotBegun};
use super::connection::{Client, Feed, Paging};
use super::fault::Fault;
use super::log::PushError;
use super::pace::{self, Pace};
use crate::code::Code;
use crate::imports::{ConnectionId, Event, Imports, Method};
use crate::limits::WINDOW_CHUNKS_MAX;
use crate::protocol::chunk::Packing;
use crate::protocol::event::{self, WireBatch};
use crate::protocol::v3::{self, Context, Message};

impl Room {
    pub(super) fn message_v3(
        &mut self,
        imports: &mut impl Imports,
        id: ConnectionId,
        frame: &[u8],
    ) {
        let (request_id, message) = v3::decode(frame);
        let request_id = request_id.as_deref();
        // An error would leave this client waiting for ever; one that has to
        // connect again pushes again.
        let requests = pace::requests_of_bytes(frame.len()).saturating_add(1);
        if self.pace(imports, id, requests) != Pace::Served {
            return self.close(imports, id, Code::TooManyRequests);
        }
        match (request_id, message) {
            (Some(request), Ok(Message::Ping)) => imports.send(&[id], &v3::pong(request)),
            (Some(request), Ok(Message::Pull(cursor))) => {
                self.pull_v3(imports, id, request, cursor.unwrap_or(0));
            }
            (Some(request), Ok(Message::Push(batch))) => self.push_v3(imports, id, request, &batch),
            (Some(request), Ok(Message::AdminInfo(secret))) => {
                self.answered_admin(imports, id, request, &secret);
                let answer = if self.is_admin(&secret) {
                    v3::admin_info_res(request, &self.store_id)
                } else {
                    v3::error(request_id, ADMIN_REFUSED)
                };
                imports.send(&[id], &answer);
            }
            (Some(request), Ok(Message::AdminReset(secret))) => {
                self.admin_reset(imports, id, request, &secret);
            }
            (_, Err(words)) => imports.send(&[id], &v3::error(request_id, &words)),
            // Decode gives no message without an id.
            (None, Ok(_)) => {}
        }
    }

    /// A 0.3 socket on an empty log cannot have missed anything.
    pub(super) fn open_v3(&mut self, imports: &mut impl Imports, id: ConnectionId) {
        if self.log.info(imports).is_ok_and(|info| info.head == 0) {
            self.set_feed(id, Feed::Live { acknowledged: 0 });
        }
    }

    fn pull_v3(
        &mut self,
        imports: &mut impl Imports,
        id: ConnectionId,
        request_id: &str,
        cursor: u64,
    ) {
        let asked = Asked {
            store_id: None,
            after: cursor,
            backend_id: None,
        };
        let beginning = self.begin_pull(imports, asked);
        let request = Request::of(Some(id), Method::Pull, request_id);
        let refused = beginning.as_ref().err().map(NotBegun::word);
        self.answered(imports, request, refused);
        let Beginning { after, info } = match beginning {
            Ok(beginning) => beginning,
            Err(error) => {
                let words = match error {
                    NotBegun::Fault(fault) => fault.message,
                    // 0.3 clients name no backend id.
                    NotBegun::BackendIdMismatch { .. } => String::new(),
                };
                imports.send(&[id], &v3::error(Some(request_id), &words));
                return;
            }
        };
        if after >= info.head {
            imports.send(&[id], &v3::pull_res("", Context::Pull, request_id, 0));
            let acknowledged = self.acknowledged(id);
            self.set_feed(id, Feed::Live { acknowledged });
            return;
        }
        let paging = Paging {
            id: request_id.to_owned(),
            is_pull: true,
            cursor: after,
            until: info.head,
            acknowledged: self.acknowledged(id),
        };
        self.set_feed(id, Feed::Paging(paging));
        self.page_v3(imports, id);
    }

    /// Sends the next page of what this connection is in the middle of.
    /// Meanwhile it gets no pushes: it would see a gap.
    pub(super) fn page_v3(&mut self, imports: &mut impl Imports, id: ConnectionId) {
        let Some(Feed::Paging(paging)) = self.feed(id).cloned() else {
            return;
        };
        let packing = if paging.is_pull {
            Packing::V3Pull
        } else {
            Packing::V3Push
        };
        let page = self.log.info(imports).and_then(|info| {
            let chunks = self
                .log
                .chunks(imports, paging.cursor, packing, WINDOW_CHUNKS_MAX)?;
            Ok((info.head, chunks))
        });
        let (head, chunks) = match page {
            Ok(page) => page,
            Err(fault) if paging.is_pull => {
                self.set_feed(id, Feed::Unknown);
                imports.send(&[id], &v3::error(Some(&paging.id), &fault.message));
                return;
            }
            Err(fault) => {
                // Its push has been answered. It will show where it is with
                // its next one, on another socket.
                self.close(imports, id, fault.code);
                return;
            }
        };
        for chunk in &chunks {
            let (context, remaining) = if paging.is_pull {
                (Context::Pull, paging.until.saturating_sub(chunk.last))
            } else {
                (Context::Push, 0)
            };
            let frame = v3::pull_res(&chunk.items, context, &paging.id, remaining);
            imports.send(&[id], &frame);
        }
        match chunks.last() {
            Some(chunk) if chunk.last < head => {
                let cursor = chunk.last;
                self.set_feed(id, Feed::Paging(Paging { cursor, ..paging }));
                imports.notify_drained(id);
            }
            _ => {
                let acknowledged = paging.acknowledged;
                self.set_feed(id, Feed::Live { acknowledged });
            }
        }
    }

    fn push_v3(
        &mut self,
        imports: &mut impl Imports,
        id: ConnectionId,
        request_id: &str,
        batch: &WireBatch<'_>,
    ) {
        let batch = event::events(batch);
        let landed = self.push_batch(imports, &batch, None);
        let request = Request {
            events: batch.len(),
            ..Request::of(Some(id), Method::Push, request_id)
        };
        self.answered(imports, request, landed.as_ref().err().map(PushError::word));
        match landed {
            Ok(None) => imports.send(&[id], &v3::push_ack(request_id)),
            Ok(Some(created_at)) => {
                // The acknowledgement first, then the broadcast (transcript
                // v031-ws-01). The client is where its push's parent was.
                imports.send(&[id], &v3::push_ack(request_id));
                if !matches!(self.feed(id), Some(Feed::Paging(_))) {
                    let acknowledged = batch.last().map_or(0, |event| event.seq_num);
                    self.set_feed(id, Feed::Live { acknowledged });
                }
                self.broadcast(imports, &batch, &created_at, (request_id, Some(id)));
            }
            Err(PushError::ServerAhead {
                minimum_expected,
                provided,
            }) => {
                if self.is_repeated(imports, id, &batch) {
                    imports.send(&[id], &v3::push_ack(request_id));
                } else {
                    let words = v3::server_ahead_text(minimum_expected, provided);
                    imports.send(&[id], &v3::error(Some(request_id), &words));
                }
                self.catch_up_v3(imports, id, request_id, provided, minimum_expected);
            }
            Err(error) => {
                let words = match error {
                    PushError::Fault(fault) => {
                        self.report_invalid(imports, Some(id), &batch, &fault);
                        fault.message
                    }
                    PushError::Overtaken { .. } => Fault::overtaken().message,
                    // 0.3 clients name no backend id.
                    _ => String::new(),
                };
                imports.send(&[id], &v3::error(Some(request_id), &words));
            }
        }
    }

    /// Whether a client repeats a push whose acknowledgement it never got: it
    /// would wait for it for ever.
    fn is_repeated(
        &mut self,
        imports: &mut impl Imports,
        id: ConnectionId,
        batch: &[Event<'_>],
    ) -> bool {
        let acknowledged = self.acknowledged(id);
        batch
            .first()
            .is_some_and(|event| event.seq_num > acknowledged)
            && self.log.holds(imports, batch).unwrap_or(false)
    }

    /// A client that lost its socket shows with its push where it is: give it
    /// what it lacks.
    fn catch_up_v3(
        &mut self,
        imports: &mut impl Imports,
        id: ConnectionId,
        request_id: &str,
        cursor: u64,
        head: u64,
    ) {
        if cursor < head && self.feed(id) == Some(&Feed::Unknown) {
            let paging = Paging {
                id: request_id.to_owned(),
                is_pull: false,
                cursor,
                until: head,
                acknowledged: self.acknowledged(id),
            };
            self.set_feed(id, Feed::Paging(paging));
            self.page_v3(imports, id);
        }
    }

    pub(super) fn acknowledged(&self, id: ConnectionId) -> u64 {
        self.feed(id).map_or(0, Feed::acknowledged)
    }

    fn feed(&self, id: ConnectionId) -> Option<&Feed> {
        match &self.connections.get(&id)?.client {
            Client::V3(feed) => Some(feed),
            Client::V4(_) => None,
        }
    }

    pub(super) fn set_feed(&mut self, id: ConnectionId, feed: Feed) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.client = Client::V3(feed);
            self.mark_dirty(id);
        }
    }

    fn admin_reset(
        &mut self,
        imports: &mut impl Imports,
        id: ConnectionId,
        request_id: &str,
        secret: &str,
    ) {
        self.answered_admin(imports, id, request_id, secret);
        if !self.is_admin(secret) {
            imports.send(&[id], &v3::error(Some(request_id), ADMIN_REFUSED));
            return;
        }
        match self.log.reset(imports) {
            Ok((old, new)) => {
                self.end_pulls_of(imports, &old, &new);
                imports.send(&[id], &v3::admin_reset_res(request_id));
            }
            Err(fault) => imports.send(&[id], &v3::error(Some(request_id), &fault.message)),
        }
    }

    fn answered_admin(
        &self,
        imports: &mut impl Imports,
        id: ConnectionId,
        request_id: &str,
        secret: &str,
    ) {
        let request = Request::of(Some(id), Method::Admin, request_id);
        let refused = (!self.is_admin(secret)).then_some(Code::Forbidden.as_str());
        self.answered(imports, request, refused);
    }

    fn is_admin(&self, given: &str) -> bool {
        self.admin_secret
            .as_deref()
            .is_some_and(|secret| secret.as_bytes().ct_eq(given.as_bytes()).into())
    }

    /// The 0.3 connections that get every push.
    pub(super) fn live_v3(&self) -> Vec<ConnectionId> {
        self.connections
            .iter()
            .filter(|(_, connection)| matches!(connection.client, Client::V3(Feed::Live { .. })))
            .map(|(&id, _)| id)
            .collect()
    }
}

/// Upstream's words; also when `ADMIN_SECRET` is unset.
const ADMIN_REFUSED: &str = "Invalid admin secret";
