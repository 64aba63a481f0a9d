//! Holding back what others pushed from clients that edit, until they pause
//! (`editor.rs` says when, and why), and the room's timer that this takes.

use std::collections::BTreeMap;

use super::Room;
use super::connection::{Client, Connection, Position};
use super::editor::{self, Editor, Others};
use crate::clock;
use crate::imports::{ConnectionId, Imports};

/// What a room knows of those who edit.
#[derive(Debug, Default)]
pub struct Telling {
    /// Who has pulled or pushed, and not so long ago that it does not matter.
    editors: BTreeMap<ConnectionId, Editor>,
    /// Who is not told of others' events.
    held: BTreeMap<ConnectionId, Others>,
    /// What the timer is set to.
    wakes_at_ms: Option<u64>,
}

impl Telling {
    /// A connection that was held when the room woke: it has waited enough.
    pub fn held_before(&mut self, id: ConnectionId) {
        self.held.insert(id, Others::of(0));
    }

    /// A connection is gone.
    pub fn gone(&mut self, id: ConnectionId) {
        self.editors.remove(&id);
        self.held.remove(&id);
    }

    fn told_from_ms(&self, id: ConnectionId, others: Others) -> u64 {
        let editor = self.editors.get(&id);
        editor.map_or(0, |editor| editor.told_from_ms(others))
    }
}

impl Room {
    /// A client pulls.
    pub(super) fn comes(&mut self, imports: &mut impl Imports, id: ConnectionId) {
        let now_ms = clock::milliseconds(imports);
        let editors = &mut self.telling.editors;
        let editor = editors.entry(id).or_insert_with(|| Editor::coming(now_ms));
        editor.asked(now_ms);
    }

    /// A client acknowledges: how far away it is.
    pub(super) fn is_heard(&mut self, imports: &mut impl Imports, id: ConnectionId) {
        if let Some(editor) = self.telling.editors.get_mut(&id) {
            editor.acknowledged(|| clock::milliseconds(imports));
        }
    }

    /// A client pushes.
    pub(super) fn edits(&mut self, imports: &mut impl Imports, id: ConnectionId, events: usize) {
        let now_ms = clock::milliseconds(imports);
        let editors = &mut self.telling.editors;
        let editor = editors.entry(id).or_insert_with(|| Editor::coming(0));
        editor.pushed(events, now_ms);
    }

    /// What it pushed landed: it knows all that there is.
    pub(super) fn edits_landed(&mut self, imports: &mut impl Imports, id: ConnectionId) {
        if let Some(editor) = self.telling.editors.get_mut(&id) {
            editor.landed();
            editor.asked(clock::milliseconds(imports));
        }
        if self.telling.held.contains_key(&id) {
            self.tell(imports, id);
        }
    }

    /// What it pushed was refused, because others were first.
    pub(super) fn edits_refused(
        &mut self,
        imports: &mut impl Imports,
        id: ConnectionId,
        events: usize,
    ) {
        let now_ms = clock::milliseconds(imports);
        if let Some(editor) = self.telling.editors.get_mut(&id) {
            editor.refused(events, now_ms);
        }
    }

    /// Others' events, from `before` on, are about to be shown: holds back
    /// those who edit; if they are few and small, those too who come. `by` has
    /// pushed them.
    pub(super) fn hold_editors(
        &mut self,
        imports: &mut impl Imports,
        by: Option<ConnectionId>,
        (before, is_small): (u64, bool),
    ) {
        if self.telling.editors.is_empty() {
            return;
        }
        let now_ms = clock::milliseconds(imports);
        let held = &mut self.telling.held;
        let connections = &mut self.connections;
        let dirty = &mut self.dirty;
        self.telling.editors.retain(|&id, editor| {
            if Some(id) == by {
                return true;
            }
            let others = held.get_mut(&id).map(|others| others.more(now_ms));
            // First: a push that will only have been, since the clock was set
            // back, would hold a client that is quiet when its time is near.
            if others.is_none() && editor.is_forgotten(now_ms) {
                return false;
            }
            let told_from_ms = editor.told_from_ms(Others::of(now_ms));
            let waits = editor::wait_ms(told_from_ms, now_ms).is_some()
                && (is_small || !editor.is_coming());
            // A pull that it has begun since waits with the one before.
            if !waits && others.is_none() {
                return true;
            }
            let Some(Client::Pulls(pulls)) = connections.get_mut(&id).map(|it| &mut it.client)
            else {
                return false;
            };
            for pull in pulls.iter_mut().filter(|pull| pull.at == Position::Live) {
                pull.held = true;
                // What it is told then is the end, as what is told at once.
                pull.at = Position::Catching {
                    cursor: before,
                    until: before,
                };
                held.entry(id).or_insert_with(|| Others::of(now_ms));
                dirty.insert(id);
            }
            true
        });
    }

    /// Tells a client all that it lacks.
    fn tell(&mut self, imports: &mut impl Imports, id: ConnectionId) {
        self.telling.held.remove(&id);
        let now_ms = clock::milliseconds(imports);
        let editor = self.telling.editors.get_mut(&id);
        let rebases = editor.is_some_and(|editor| editor.told(now_ms));
        let mut request_ids = Vec::new();
        for pull in self.pulls(id).into_iter().flatten() {
            if std::mem::take(&mut pull.held) {
                pull.joined = rebases;
                request_ids.push(pull.id.clone());
            }
        }
        for request_id in request_ids {
            self.pump(imports, id, &request_id);
        }
    }

    /// Tells those who have waited long enough, in whatever turn comes: in a
    /// busy room the timer's own may come late.
    pub(super) fn tell_waiting(&mut self, imports: &mut impl Imports) {
        let connections = &self.connections;
        // A pull may have been interrupted, started again or ended meanwhile.
        let held = &mut self.telling.held;
        held.retain(|id, _| connections.get(id).is_some_and(Connection::is_held));
        if self.telling.held.is_empty() {
            return;
        }
        let now_ms = clock::milliseconds(imports);
        let held = &self.telling.held;
        let due: Vec<ConnectionId> = held
            .iter()
            .filter(|&(&id, &others)| {
                let told_from_ms = self.telling.told_from_ms(id, others);
                editor::wait_ms(told_from_ms, now_ms).is_none()
            })
            .map(|(&id, _)| id)
            .collect();
        for id in due {
            self.tell(imports, id);
        }
    }

    /// Sets the timer for whoever waits, at the end of a turn.
    pub(super) fn set_timer(&mut self, imports: &mut impl Imports) {
        let held = self.telling.held.iter();
        let held = held.map(|(&id, &others)| self.telling.told_from_ms(id, others));
        let Some(next_ms) = held.chain(self.stranded.deadlines_ms()).min() else {
            return;
        };
        let now_ms = clock::milliseconds(imports);
        // One that is set earlier finds nobody, and sets the next.
        let is_set = self.telling.wakes_at_ms.is_some_and(|at_ms| {
            at_ms <= next_ms.max(now_ms) && editor::wait_ms(at_ms, now_ms).is_some()
        });
        if is_set {
            return;
        }
        let after_ms = editor::wait_ms(next_ms, now_ms).unwrap_or(1);
        self.telling.wakes_at_ms = Some(now_ms.saturating_add(after_ms));
        imports.wake_after(u32::try_from(after_ms).unwrap_or(u32::MAX));
    }

    /// The time is over that the room asked for.
    pub fn wake(&mut self, imports: &mut impl Imports) {
        self.telling.wakes_at_ms = None;
        self.begin_turn(imports);
        self.end_turn(imports);
    }
}
