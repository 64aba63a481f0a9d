//! Clients that are fed, as 0.3's are: they pull once in their lives, take
//! what comes, and show with their pushes where they are. And administration,
//! which only they can ask for.

use subtle::ConstantTimeEq;

use super::Room;
use super::answered::Request;
use super::beginning::{Asked, Beginning, NotBegun};
use super::connection::{Client, Connection, Feed, Paging};
use super::fault::Fault;
use super::log::PushError;
use super::subscriptions::page_info;
use crate::code::Code;
use crate::imports::{ConnectionId, Event, Imports, Method};
use crate::limits::WINDOW_CHUNKS_MAX;
use crate::protocol::chunk::Packing;
use crate::protocol::event::{self, ItemForm};
use crate::protocol::{PageInfo, Pull, Push, Reply, Why};

/// Upstream's words; also when `ADMIN_SECRET` is unset.
const ADMIN_REFUSED: Reply<'static> = Reply::Failed {
    code: Code::Forbidden.as_str(),
    message: "Invalid admin secret",
    retry_after_ms: None,
};

impl Room {
    /// A socket on an empty log cannot have missed anything.
    pub(super) fn open_feed(&mut self, imports: &mut impl Imports, id: ConnectionId) {
        if self.log.info(imports).is_ok_and(|info| info.head == 0) {
            self.set_feed(id, Feed::Live { acknowledged: 0 });
        }
    }

    pub(super) fn begin_feed(
        &mut self,
        imports: &mut impl Imports,
        id: ConnectionId,
        request_id: &str,
        pull: &Pull<'_>,
    ) {
        let beginning = self.begin_pull(imports, Asked::from(pull));
        let request = Request::of(Some(id), Method::Pull, request_id);
        let refused = beginning.as_ref().err().map(NotBegun::word);
        self.answered(imports, request, refused);
        let Beginning { after, info } = match beginning {
            Ok(beginning) => beginning,
            Err(error) => return self.reply(imports, id, request_id, &error.reply()),
        };
        if after >= info.head {
            let nothing = Reply::nothing(&info.backend_id);
            self.reply(imports, id, request_id, &nothing);
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
        if let Err(fault) = self.send_page(imports, id, paging) {
            // Nothing came of it: who was shown pushes is shown the next.
            self.reply(imports, id, request_id, &fault.reply());
        }
    }

    /// Goes on with what this connection is in the middle of. Meanwhile it
    /// gets no pushes: it would see a gap.
    pub(super) fn feed_page(&mut self, imports: &mut impl Imports, id: ConnectionId) {
        let Some(Feed::Paging(paging)) = self.feed(id).cloned() else {
            return;
        };
        let (cursor, acknowledged) = (paging.cursor, paging.acknowledged);
        let pull = paging.is_pull.then(|| paging.id.clone());
        let Err(fault) = self.send_page(imports, id, paging) else {
            return;
        };
        let Some(request_id) = pull else {
            // Its push has been answered. It will show where it is with its
            // next one, on another socket.
            return self.close(imports, id, fault.code);
        };
        let stopped = Feed::Stopped {
            cursor,
            acknowledged,
        };
        self.set_feed(id, stopped);
        self.reply(imports, id, &request_id, &fault.reply());
    }

    /// Sends a page of what a connection is given, and settles where it
    /// stands. Where that fails nothing was sent, and it stands where it did.
    fn send_page(
        &mut self,
        imports: &mut impl Imports,
        id: ConnectionId,
        paging: Paging,
    ) -> Result<(), Fault> {
        let packing = if paging.is_pull {
            Packing::Pages
        } else {
            Packing::Whole
        };
        let shape = (self.item_form(id), packing);
        let info = self.log.info(imports)?;
        let chunks = self
            .log
            .chunks(imports, paging.cursor, shape, WINDOW_CHUNKS_MAX)?;
        for chunk in &chunks {
            let (why, page_info) = if paging.is_pull {
                (Why::Pull, page_info(chunk.last, paging.until))
            } else {
                (Why::Push, PageInfo::NoMore)
            };
            let page = Reply::Chunk {
                items: &chunk.items,
                page_info,
                backend_id: &info.backend_id,
                why,
            };
            self.reply(imports, id, &paging.id, &page);
        }
        match chunks.last() {
            Some(chunk) if chunk.last < info.head => {
                let cursor = chunk.last;
                self.set_feed(id, Feed::Paging(Paging { cursor, ..paging }));
                imports.notify_drained(id);
            }
            _ => {
                let acknowledged = paging.acknowledged;
                self.set_feed(id, Feed::Live { acknowledged });
            }
        }
        Ok(())
    }

    /// A client pushes that is fed.
    pub(super) fn push_of_fed(
        &mut self,
        imports: &mut impl Imports,
        id: ConnectionId,
        request_id: &str,
        push: &Push<'_>,
    ) {
        let batch = event::events(&push.batch);
        let landed = self.push_batch(imports, &batch, push.backend_id.as_deref());
        let request = Request {
            events: batch.len(),
            ..Request::of(Some(id), Method::Push, request_id)
        };
        self.answered(imports, request, landed.as_ref().err().map(PushError::word));
        match landed {
            Ok(None) => self.reply(imports, id, request_id, &Reply::Pushed),
            Ok(Some(created_at)) => {
                // The acknowledgement first, then the broadcast (transcript
                // v031-ws-01). The client is where its push's parent was.
                self.reply(imports, id, request_id, &Reply::Pushed);
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
                    self.reply(imports, id, request_id, &Reply::Pushed);
                } else {
                    let ahead = Reply::ServerAhead {
                        minimum_expected,
                        provided,
                    };
                    self.reply(imports, id, request_id, &ahead);
                }
                self.feed_what_lacks(imports, id, request_id, provided, minimum_expected);
            }
            Err(PushError::Fault(fault)) => {
                self.report_invalid(imports, Some(id), &batch, &fault);
                self.reply(imports, id, request_id, &fault.reply());
            }
            Err(PushError::Overtaken { .. }) => {
                self.reply(imports, id, request_id, &Fault::overtaken().reply());
            }
            Err(PushError::BackendIdMismatch { expected, received }) => {
                let (expected, received) = (&expected, &received);
                let mismatch = Reply::BackendIdMismatch { expected, received };
                self.reply(imports, id, request_id, &mismatch);
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

    /// A client that lost its socket, or whose pull failed, shows with its
    /// push where it is: give it what it lacks.
    fn feed_what_lacks(
        &mut self,
        imports: &mut impl Imports,
        id: ConnectionId,
        request_id: &str,
        cursor: u64,
        head: u64,
    ) {
        let cursor = match self.feed(id) {
            Some(Feed::Unknown) => cursor,
            Some(&Feed::Stopped { cursor: sent, .. }) => sent.max(cursor),
            _ => return,
        };
        if cursor < head {
            let paging = Paging {
                id: request_id.to_owned(),
                is_pull: false,
                cursor,
                until: head,
                acknowledged: self.acknowledged(id),
            };
            self.set_feed(id, Feed::Paging(paging));
            self.feed_page(imports, id);
        }
    }

    pub(super) fn acknowledged(&self, id: ConnectionId) -> u64 {
        self.feed(id).map_or(0, Feed::acknowledged)
    }

    fn feed(&self, id: ConnectionId) -> Option<&Feed> {
        match &self.connections.get(&id)?.client {
            Client::Feed(feed) => Some(feed),
            Client::Pulls(_) => None,
        }
    }

    pub(super) fn set_feed(&mut self, id: ConnectionId, feed: Feed) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.client = Client::Feed(feed);
            self.mark_dirty(id);
        }
    }

    /// How events stand in what this connection gets.
    fn item_form(&self, id: ConnectionId) -> ItemForm {
        let connection = self.connections.get(&id);
        connection.map_or(ItemForm::Bare, Connection::item_form)
    }

    /// Somebody asks which room this is.
    pub(super) fn admin_info(
        &mut self,
        imports: &mut impl Imports,
        id: ConnectionId,
        request_id: &str,
        secret: &str,
    ) {
        self.answered_admin(imports, id, request_id, secret);
        let room_id = &self.store_id;
        let answer = if self.is_admin(secret) {
            Reply::AdminInfo { room_id }
        } else {
            ADMIN_REFUSED
        };
        self.reply(imports, id, request_id, &answer);
    }

    /// Somebody wants the log to be emptied.
    pub(super) fn admin_reset(
        &mut self,
        imports: &mut impl Imports,
        id: ConnectionId,
        request_id: &str,
        secret: &str,
    ) {
        self.answered_admin(imports, id, request_id, secret);
        if !self.is_admin(secret) {
            self.reply(imports, id, request_id, &ADMIN_REFUSED);
            return;
        }
        match self.log.reset(imports) {
            Ok((old, new)) => {
                self.end_pulls_of(imports, &old, &new);
                self.reply(imports, id, request_id, &Reply::AdminReset);
            }
            Err(fault) => self.reply(imports, id, request_id, &fault.reply()),
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

    /// The connections that are fed every push.
    pub(super) fn fed(&self) -> Vec<ConnectionId> {
        self.connections
            .iter()
            .filter(|(_, connection)| matches!(connection.client, Client::Feed(Feed::Live { .. })))
            .map(|(&id, _)| id)
            .collect()
    }
}
