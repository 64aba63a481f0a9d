//! Another writer was here: whoever was at the head where this room believed
//! it gets what it has missed (I3), or starts anew.

use super::Room;
use super::connection::{Client, Feed, Position};
use super::fault::Fault;
use super::window::Window;
use crate::imports::{ConnectionId, Imports, LogInfo};
use crate::limits::WINDOW_CHUNKS_MAX;
use crate::protocol::chunk::Packing;
use crate::protocol::event::ItemForm;

impl Room {
    /// Looks again where the head is, if a client has seen events beyond it;
    /// if it moved, those who were live get what they missed.
    pub(super) fn look_again(
        &mut self,
        imports: &mut impl Imports,
        seen: u64,
    ) -> Result<(), Fault> {
        if let Some(believed) = self.log.look_again(imports, seen)? {
            self.overtaken(imports, &believed);
        }
        Ok(())
    }

    /// The log is not what this room believed. If it is another one now, all
    /// have to start anew; else who was live gets what it has missed.
    pub(super) fn overtaken(&mut self, imports: &mut impl Imports, believed: &LogInfo) {
        match self.log.info(imports) {
            Ok(info) if info.backend_id != believed.backend_id => {
                self.end_pulls_of(imports, &believed.backend_id, &info.backend_id);
            }
            _ => self.catch_all_up(imports, believed.head),
        }
    }

    /// Another writer has moved the log on from `before`, where this room
    /// believed it: whoever was live there has missed what came since.
    pub(super) fn catch_all_up(&mut self, imports: &mut impl Imports, before: u64) {
        let info = match self.log.info(imports) {
            Ok(info) => info,
            Err(fault) => {
                // Nobody would tell them later what they have missed.
                for id in self.live() {
                    if !self.wait_at(id, before) {
                        self.close(imports, id, fault.code);
                    }
                }
                return;
            }
        };
        self.hold_editors(imports, None, (before, false));
        self.catch_live_up(imports, before, info.head);
        let fed = self.fed();
        self.feed_all(imports, &fed, "", before, info.head);
    }

    /// Shows pulls that were live at `before` what another writer has put
    /// behind it: to all at once, as a push is shown, since there may be
    /// thousands (I7). What is more than their windows take they get as they
    /// acknowledge.
    fn catch_live_up(&mut self, imports: &mut impl Imports, before: u64, head: u64) {
        for form in self.live_forms() {
            let shape = (form, Packing::Pages);
            let chunks = self.log.chunks(imports, before, shape, WINDOW_CHUNKS_MAX);
            let chunks = match chunks {
                Ok(chunks) => chunks,
                Err(fault) => return self.leave_live(imports, before, &fault),
            };
            for chunk in &chunks {
                self.show(imports, chunk, head, (Some(form), Window::admits));
            }
            let shown = chunks.last().map(|chunk| chunk.last);
            if let Some(shown) = shown.filter(|shown| *shown < head) {
                self.go_on_at(shown, head, form);
            }
        }
    }

    /// Live pulls were shown as much as they take at once.
    fn go_on_at(&mut self, shown: u64, head: u64, form: ItemForm) {
        // Something is in flight to each of them, so an Ack will come.
        for (&id, connection) in &mut self.connections {
            if connection.item_form() != form {
                continue;
            }
            let Client::Pulls(pulls) = &mut connection.client else {
                continue;
            };
            for pull in pulls.iter_mut().filter(|pull| pull.at == Position::Live) {
                pull.at = Position::Catching {
                    cursor: shown,
                    until: head,
                };
                self.dirty.insert(id);
            }
        }
    }

    /// What live pulls have missed cannot be read: subscribers go on
    /// later, sockets are closed, since nobody would tell them.
    fn leave_live(&mut self, imports: &mut impl Imports, before: u64, fault: &Fault) {
        let fed = self.fed();
        for id in self.live() {
            if !fed.contains(&id) && !self.wait_at(id, before) {
                self.close(imports, id, fault.code);
            }
        }
    }

    /// Leaves a subscriber where it is, to go on later; `false` for a socket.
    fn wait_at(&mut self, id: ConnectionId, cursor: u64) -> bool {
        let pull = self.pulls(id).and_then(|pulls| pulls.first_mut());
        let Some(pull) = pull.filter(|pull| pull.is_subscribers()) else {
            return false;
        };
        pull.at = Position::Catching {
            cursor,
            until: cursor,
        };
        self.woken.push(id);
        true
    }

    /// The connections that are at the head.
    fn live(&self) -> Vec<ConnectionId> {
        let is_live = |client: &Client| match client {
            Client::Pulls(pulls) => pulls.iter().any(|pull| pull.at == Position::Live),
            Client::Feed(feed) => matches!(feed, Feed::Live { .. }),
        };
        let connections = self.connections.iter();
        connections
            .filter(|(_, connection)| is_live(&connection.client))
            .map(|(&id, _)| id)
            .collect()
    }
}
