//! Subscriptions: a live pull is a cursor. It catches up page by page, as
//! Acks come in, and turns live at the head; one that stops acknowledging
//! falls back (design D4, I3, I7).

use std::collections::BTreeMap;

use super::Room;
use super::beginning::Beginning;
use super::connection::{Client, Feed, Paging, Position, Pull};
use super::editor::{FIRST_PUSH_BYTES_MAX, FIRST_PUSH_EVENTS_MAX};
use super::fault::Fault;
use super::window::Window;
use crate::code::Code;
use crate::imports::{ConnectionId, Event, Imports, Opening};
use crate::limits::WINDOW_CHUNKS_MAX;
use crate::protocol::chunk::{self, Packing};
use crate::protocol::event::ItemForm;
use crate::protocol::rpc;
use crate::protocol::{PageInfo, Reply, Voice, Why};

/// Whether a window takes a frame of so many bytes.
pub(super) type Admits = fn(&Window, usize) -> bool;

impl Room {
    /// Sends a committed push to everyone who is at the head. `by` is the
    /// request that clients which are fed are told it answers, and the socket it came on.
    pub(super) fn broadcast(
        &mut self,
        imports: &mut impl Imports,
        batch: &[Event<'_>],
        created_at: &str,
        (by, from): (&str, Option<ConnectionId>),
    ) {
        let Some(first) = batch.first() else {
            return;
        };
        let before = first.parent_seq_num;
        let head = batch.last().map_or(before, |event| event.seq_num);
        self.hold_editors(imports, from, (before, is_small(batch)));
        let items = || batch.iter().map(|event| (*event, created_at));
        let mut forms: Vec<Option<ItemForm>> = self.live_forms().into_iter().map(Some).collect();
        // Then all of them are one.
        if forms.len() > 1 && batch.iter().all(|event| event.args.is_some()) {
            forms = vec![None];
        }
        for form in forms {
            let written = form.unwrap_or(ItemForm::Tagged);
            if let Some(chunks) = self.log.recent_chunks(before, written) {
                for chunk in chunks {
                    self.show(imports, &chunk, head, (form, Window::admits_live));
                }
            } else {
                self.broadcast_large(imports, batch, (created_at, head), form);
            }
        }
        let fed = self.fed();
        let Some(voice) = self.voice_of_fed(&fed) else {
            return;
        };
        match chunk::pack(items(), whole(voice), before, 2).as_slice() {
            [chunk] => imports.send(&fed, &fed_push(voice, by, &chunk.items)),
            // More than a socket should have to hold at once: a page a turn.
            _ => self.feed_all(imports, &fed, by, before, head),
        }
    }

    /// The same for a batch that may be tens of MiB: a Chunk at a time (I7).
    fn broadcast_large(
        &mut self,
        imports: &mut impl Imports,
        batch: &[Event<'_>],
        (created_at, head): (&str, u64),
        form: Option<ItemForm>,
    ) {
        let shape = (form.unwrap_or(ItemForm::Tagged), Packing::Pages);
        let mut rest = batch;
        while let Some(first) = rest.first() {
            let items = rest.iter().map(|event| (*event, created_at));
            let chunks = chunk::pack(items, shape, first.parent_seq_num, 1);
            let Some(chunk) = chunks.first() else {
                return;
            };
            self.show(imports, chunk, head, (form, Window::admits_live));
            let sent = rest.partition_point(|event| event.seq_num <= chunk.last);
            rest = rest.get(sent..).unwrap_or_default();
        }
    }

    /// Gives clients that are fed and all at `cursor` what follows: the first
    /// page to all at once, then each a page a turn.
    pub(super) fn feed_all(
        &mut self,
        imports: &mut impl Imports,
        to: &[ConnectionId],
        by: &str,
        cursor: u64,
        until: u64,
    ) {
        let Some(voice) = self.voice_of_fed(to) else {
            return;
        };
        let chunks = self
            .log
            .chunks(imports, cursor, whole(voice), WINDOW_CHUNKS_MAX);
        let chunks = match chunks {
            Ok(chunks) => chunks,
            Err(fault) => {
                for &id in to {
                    self.close(imports, id, fault.code);
                }
                return;
            }
        };
        for chunk in &chunks {
            imports.send(to, &fed_push(voice, by, &chunk.items));
        }
        let cursor = chunks.last().map_or(cursor, |chunk| chunk.last);
        if cursor >= until {
            return;
        }
        for &id in to {
            let paging = Paging {
                id: by.to_owned(),
                is_pull: false,
                cursor,
                until,
                acknowledged: self.acknowledged(id),
            };
            self.set_feed(id, Feed::Paging(paging));
            imports.notify_drained(id);
        }
    }

    /// In whose words clients that are fed are shown a push: they are all of
    /// one version. `None` if there are none.
    fn voice_of_fed(&self, fed: &[ConnectionId]) -> Option<Voice> {
        fed.first().and_then(|&id| self.voice(id))
    }

    /// In which forms events are shown to those who pull and are live.
    pub(super) fn live_forms(&self) -> Vec<ItemForm> {
        let mut forms = Vec::new();
        for connection in self.connections.values() {
            let is_live = matches!(&connection.client, Client::Pulls(pulls)
                if pulls.iter().any(|pull| pull.at == Position::Live));
            if is_live && !forms.contains(&connection.item_form()) {
                forms.push(connection.item_form());
            }
        }
        forms
    }

    /// Sends a Chunk that ends before or at `head` to every live pull, of
    /// those whose clients are shown events in this form, if it is one form's,
    /// and whose window `admits` it; the others go on from their cursors.
    pub(super) fn show(
        &mut self,
        imports: &mut impl Imports,
        chunk: &chunk::Chunk,
        head: u64,
        (form, admits): (Option<ItemForm>, Admits),
    ) {
        let Ok(info) = self.log.info(imports) else {
            // It was open a moment ago, for the append.
            return;
        };
        // A Chunk is encoded once for all pulls, whatever their versions and
        // request ids, of which there may be thousands (D5, I7).
        let rest = rpc::chunk_rest(&chunk.items, PageInfo::NoMore, &info.backend_id);
        let bytes_without_id = rpc::HEAD_BYTES_MAX + rest.len();
        let mut groups: BTreeMap<Voice, BTreeMap<String, Vec<ConnectionId>>> = BTreeMap::new();
        for (&id, connection) in &mut self.connections {
            let voice = connection.voice();
            if form.is_some_and(|form| form != connection.item_form()) {
                continue;
            }
            let Client::Pulls(pulls) = &mut connection.client else {
                continue;
            };
            for pull in pulls.iter_mut().filter(|pull| pull.at == Position::Live) {
                let frame_bytes = bytes_without_id + pull.id.len();
                if admits(&pull.window, frame_bytes) {
                    if pull.sent(frame_bytes, chunk.last) {
                        self.dirty.insert(id);
                    }
                    let groups = groups.entry(voice).or_default();
                    // Most have the same id: it is copied once.
                    match groups.get_mut(&pull.id) {
                        Some(to) => to.push(id),
                        None => drop(groups.insert(pull.id.clone(), vec![id])),
                    }
                } else {
                    // It has yet to acknowledge what came before: it costs no
                    // memory from here on and goes on from its cursor, with
                    // all that it lacks in one Chunk, when it does.
                    pull.at = Position::Catching {
                        cursor: chunk.after,
                        until: head,
                    };
                    self.dirty.insert(id);
                }
            }
        }
        let openings: Vec<Opening> = groups
            .into_iter()
            .filter_map(|(voice, groups)| Some((voice, voice.dialect.rpc()?, groups)))
            .flat_map(|(voice, rpc, groups)| {
                groups.into_iter().map(move |(request_id, to)| Opening {
                    to,
                    head: rpc.chunk_head(&request_id, voice.carrier),
                })
            })
            .collect();
        if !openings.is_empty() {
            imports.send_each(&openings, &rest);
        }
    }

    /// Sends a pull as much as its window takes, and settles where it stands.
    pub(super) fn pump(&mut self, imports: &mut impl Imports, id: ConnectionId, request_id: &str) {
        let Some(mut pull) = self.take_pull(id, request_id) else {
            return;
        };
        if pull.held {
            // It is told when its client pauses.
            return self.put_pull(id, pull);
        }
        match self.pump_taken(imports, id, &mut pull) {
            Ok(true) => self.put_pull(id, pull),
            Ok(false) => self.mark_dirty(id),
            // Nobody would tell it to pull again: it goes on later.
            Err(_) if pull.is_subscribers() => {
                self.woken.push(id);
                self.put_pull(id, pull);
            }
            Err(fault) if pull.live => {
                // An Exit would silence the client for ever; a close makes it
                // reconnect and pull again (design D10).
                self.close(imports, id, fault.code);
            }
            Err(fault) => {
                self.mark_dirty(id);
                self.reply(imports, id, &pull.id, &fault.reply());
            }
        }
    }

    /// Whether the pull goes on.
    fn pump_taken(
        &mut self,
        imports: &mut impl Imports,
        id: ConnectionId,
        pull: &mut Pull,
    ) -> Result<bool, Fault> {
        let Some(voice) = self.voice(id) else {
            return Ok(false);
        };
        let info = self.log.info(imports)?;
        while let Position::Catching { cursor, until } = pull.at {
            let free = pull.window.chunks_free();
            if free == 0 {
                break;
            }
            let packing = if pull.joined {
                Packing::Joined
            } else {
                Packing::Pages
            };
            let chunks = if cursor < info.head {
                let shape = (voice.dialect.codec().item_form(), packing);
                self.log.chunks(imports, cursor, shape, free)?
            } else {
                Vec::new()
            };
            if chunks.is_empty() {
                pull.at = at_head(pull.live);
                break;
            }
            for chunk in chunks {
                let reply = Reply::Chunk {
                    items: &chunk.items,
                    page_info: page_info(chunk.last, until),
                    backend_id: &info.backend_id,
                    why: Why::Pull,
                };
                let frame = voice.write(&pull.id, &reply);
                if !pull.window.admits(frame.len()) {
                    return Ok(true);
                }
                pull.sent(frame.len(), chunk.last);
                imports.send(&[id], &frame);
                pull.at = if chunk.last >= info.head {
                    at_head(pull.live)
                } else {
                    Position::Catching {
                        cursor: chunk.last,
                        until,
                    }
                };
            }
        }
        pull.joined &= matches!(pull.at, Position::Catching { .. });
        if pull.at == Position::Ending && pull.window.is_empty() {
            self.reply(imports, id, &pull.id, &Reply::Ended);
            return Ok(false);
        }
        Ok(true)
    }

    /// Starts a pull: whatever there is to send, a first Chunk is sent, since
    /// clients wait for one before they push.
    pub(super) fn start_pull(
        &mut self,
        imports: &mut impl Imports,
        id: ConnectionId,
        request_id: &str,
        live: bool,
        beginning: &Beginning,
    ) {
        let &Beginning { after, ref info } = beginning;
        let catching = Position::Catching {
            cursor: after,
            until: info.head,
        };
        let mut pull = match self.take_pull(id, request_id) {
            Some(before) => before.restarted(live, catching),
            None if self.pulls(id).is_some_and(|others| !others.is_empty()) => {
                Pull::besides_others(request_id, live, catching)
            }
            None => Pull::new(request_id, live, catching),
        };
        if after >= info.head {
            let Some(voice) = self.voice(id) else {
                return;
            };
            let frame = voice.write(request_id, &Reply::nothing(&info.backend_id));
            pull.sent(frame.len(), after);
            imports.send(&[id], &frame);
            pull.at = at_head(live);
        }
        self.put_pull(id, pull);
        self.pump(imports, id, request_id);
    }

    /// Tells every pull that the log is another one now, and ends it: the one
    /// Exit Failure that a live pull may get, since clients act on it.
    pub(super) fn end_pulls_of(&mut self, imports: &mut impl Imports, old: &str, new: &str) {
        // A subscriber learns of it from its next call.
        let connections = self.connections.iter();
        let subscribers: Vec<ConnectionId> = connections
            .filter(|(_, connection)| connection.is_subscriber())
            .map(|(&id, _)| id)
            .collect();
        for id in subscribers {
            self.close(imports, id, Code::Reset);
        }
        for (&id, connection) in &mut self.connections {
            self.dirty.insert(id);
            let voice = connection.voice();
            match &mut connection.client {
                Client::Pulls(pulls) => {
                    let mismatch = Reply::BackendIdMismatch {
                        expected: new,
                        received: old,
                    };
                    for pull in std::mem::take(pulls) {
                        imports.send(&[id], &voice.write(&pull.id, &mismatch));
                    }
                }
                Client::Feed(feed) => *feed = Feed::Unknown,
            }
        }
    }

    /// Takes a pull out of its place.
    pub(super) fn take_pull(&mut self, id: ConnectionId, request_id: &str) -> Option<Pull> {
        let pulls = self.pulls(id)?;
        let index = pulls.iter().position(|pull| pull.id == request_id)?;
        Some(pulls.swap_remove(index))
    }

    /// Puts a pull (back) in place, instead of one with the same id.
    fn put_pull(&mut self, id: ConnectionId, pull: Pull) {
        if let Some(pulls) = self.pulls(id) {
            pulls.retain(|other| other.id != pull.id);
            pulls.push(pull);
            self.mark_dirty(id);
        }
    }

    /// A connection's pulls, if it is not fed.
    pub(super) fn pulls(&mut self, id: ConnectionId) -> Option<&mut Vec<Pull>> {
        match &mut self.connections.get_mut(&id)?.client {
            Client::Pulls(pulls) => Some(pulls),
            Client::Feed(_) => None,
        }
    }

    pub(super) fn mark_dirty(&mut self, id: ConnectionId) {
        self.dirty.insert(id);
    }
}

/// How clients that are fed are shown a push (transcript v031-ws-03).
fn whole(voice: Voice) -> (ItemForm, Packing) {
    (voice.dialect.codec().item_form(), Packing::Whole)
}

/// Its frame, which answers this request.
fn fed_push(voice: Voice, by: &str, items: &str) -> String {
    let push = Reply::Chunk {
        items,
        page_info: PageInfo::NoMore,
        backend_id: "",
        why: Why::Push,
    };
    voice.write(by, &push)
}

/// Whether a push is what a client begins with (`editor.rs`).
fn is_small(batch: &[Event<'_>]) -> bool {
    let bytes = batch.iter().map(|event| event.args.map_or(0, str::len));
    batch.len() <= FIRST_PUSH_EVENTS_MAX && bytes.sum::<usize>() <= FIRST_PUSH_BYTES_MAX
}

/// Where a pull stands that has sent everything.
fn at_head(live: bool) -> Position {
    if live {
        Position::Live
    } else {
        Position::Ending
    }
}

/// What remains, by sequence numbers: no rows are counted.
pub(super) fn page_info(last: u64, until: u64) -> PageInfo {
    match until.checked_sub(last) {
        None | Some(0) => PageInfo::NoMore,
        Some(remaining) => PageInfo::MoreKnown(remaining),
    }
}
