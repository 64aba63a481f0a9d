//! The oracle: replays what was committed, in order, and checks what was
//! stored and where each turn ends; `verdicts.rs` checks what was sent. See
//! `simulation.rs` for what it promises.

use std::collections::BTreeMap;
use std::rc::Rc;

use syncline_guest::imports::{ConnectionId, StoredEvent};
use syncline_guest::limits::PULLS_MAX;

use super::conduct::{Conduct, Moment};
use super::coverage::seen;
use super::feed::Feed;
use super::history::{Epoch, is_same};
use super::http_answer::HttpAnswer;
use super::network::{Meaning, Owner, Said, Subscriber};
use super::subscription::Subscription;
use super::world::Turn;

#[path = "verdicts.rs"]
mod verdicts;

/// All that the checks need to know.
#[derive(Debug, Default)]
pub struct Oracle {
    pub epochs: Vec<Epoch>,
    /// The head as the room believes it, while it does not know of another
    /// writer.
    believed: Option<u64>,
    owners: BTreeMap<ConnectionId, Owner>,
    /// What 0.4 sockets did.
    conducts: BTreeMap<ConnectionId, Conduct>,
    moment: Moment,
    pulls: BTreeMap<(ConnectionId, String), Subscription>,
    feeds: BTreeMap<ConnectionId, Feed>,
    answers: BTreeMap<u32, HttpAnswer>,
    /// The request and the end of an answer after which its caller is called.
    subscribing: Option<(String, u64)>,
    turn: Notes,
}

/// What has to hold of the turn under way.
#[derive(Debug, Default)]
struct Notes {
    said: Option<(Asker, Rc<Said>)>,
    answers: u32,
    /// Its socket was closed, which is an answer too.
    asker_closed: bool,
    appended: Option<Vec<Rc<StoredEvent>>>,
    faulted: bool,
    /// It tells the room that a connection is gone, and does no more.
    is_farewell: bool,
    /// The timer was over.
    is_wake: bool,
    timer_set: bool,
    /// A refused 0.3 push of this socket has to be followed by what it lacks.
    behind: Option<ConnectionId>,
}

/// Who a turn answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asker {
    Socket(ConnectionId),
    Http(u32),
}

impl Oracle {
    /// The log was there before the run.
    pub fn founded(&mut self, backend_id: String, events: &[Rc<StoredEvent>]) {
        let mut epoch = Epoch::new(backend_id);
        epoch.append(events);
        self.epochs.push(epoch);
    }

    fn log(&self) -> &Epoch {
        self.epochs.last().expect("an answer without a log")
    }

    /// The head, as far as the room can know.
    fn head(&self) -> u64 {
        let head = self.epochs.last().map_or(0, Epoch::head);
        self.believed.unwrap_or(head)
    }

    /// A turn begins.
    pub fn turn(&mut self, turn: &Turn, at_ms: u64) {
        self.moment.now_ms = at_ms;
        match turn {
            Turn::Opened(id, owner) => {
                self.owners.insert(*id, *owner);
                if *owner == Owner::V4 {
                    self.conducts.insert(*id, Conduct::default());
                }
                if let Owner::V3 { cursor } = *owner {
                    self.feeds.insert(*id, Feed::new(cursor));
                }
            }
            // A socket that the room has closed is not heard.
            Turn::Message(id, said) if self.owners.contains_key(id) => {
                self.turn.said = Some((Asker::Socket(*id), Rc::clone(said)));
                self.message(*id, &said.meaning);
            }
            Turn::Message(..) => {}
            Turn::Drained(id) => {
                if let Some(feed) = self.feeds.get_mut(id) {
                    feed.drained();
                }
            }
            Turn::Wake => self.turn.is_wake = true,
            Turn::Delivered(id) => {
                let mut pulls = self.pulls.iter_mut();
                if let Some((_, pull)) = pulls.find(|((of, _), _)| of == id) {
                    pull.acknowledged();
                }
            }
            Turn::Gone(id) => {
                self.turn.is_farewell = true;
                self.forget(*id);
            }
            Turn::Request(id, said) => {
                self.turn.said = Some((Asker::Http(*id), Rc::clone(said)));
                self.answers.insert(*id, HttpAnswer::new(said));
            }
            Turn::Resume(_) => {}
        }
    }

    fn message(&mut self, id: ConnectionId, meaning: &Meaning) {
        let moment = self.moment;
        match meaning {
            Meaning::Pull {
                id: request,
                live,
                cursor,
            } => {
                let after = cursor.as_ref().map_or(0, |(_, after)| *after);
                let key = (id, request.clone());
                let pull = match self.pulls.remove(&key) {
                    Some(before) => before.restarted(*live, after),
                    None => Subscription::new(*live, after),
                };
                self.pulls.insert(key, pull);
                self.conduct(id, |conduct| conduct.pulled(moment));
            }
            Meaning::Push { .. } => self.conduct(id, |conduct| conduct.pushed(moment)),
            Meaning::Ack(request) => {
                if let Some(pull) = self.pulls.get_mut(&(id, request.clone())) {
                    pull.acknowledged();
                } else {
                    self.conduct(id, |conduct| conduct.acknowledged_nothing(moment));
                }
            }
            Meaning::PullV3 {
                id: request,
                cursor,
            } => {
                let head = self.head();
                if let Some(feed) = self.feeds.get_mut(&id) {
                    feed.pull_heard(request, *cursor, head);
                }
            }
            _ => {}
        }
    }

    fn conduct(&mut self, id: ConnectionId, change: impl FnOnce(&mut Conduct)) {
        if let Some(conduct) = self.conducts.get_mut(&id) {
            change(conduct);
        }
    }

    /// The room's clock was set, so long after the run began.
    pub fn clock_was_set(&mut self, at_ms: u64) {
        self.moment.clock_set_ms = Some(at_ms);
    }

    /// The timer was set.
    pub fn timer_set(&mut self) {
        self.turn.timer_set = true;
    }

    /// Whether somebody would wait for ever if no time were over.
    pub fn somebody_has_to_be_told(&self) -> bool {
        let log = self.epochs.last();
        self.conducts.values().any(Conduct::is_doubted)
            || log.is_some_and(|log| self.pulls.values().any(|it| it.has_to_be_told(log)))
    }

    /// A turn has ended.
    pub fn turn_ended(&mut self) {
        let notes = std::mem::take(&mut self.turn);
        if let Some((asker, said)) = &notes.said
            && let Meaning::Push { .. } | Meaning::PushV3 { .. } = said.meaning
        {
            assert!(
                notes.answers == 1 || (notes.answers == 0 && notes.asker_closed),
                "a push of {asker:?} has {} answers",
                notes.answers
            );
        } else {
            assert!(notes.appended.is_none(), "stored without a push");
        }
        if let Some((Asker::Socket(id), said)) = &notes.said
            && let Meaning::Interrupt(request) = &said.meaning
        {
            let key = (*id, request.clone());
            assert!(
                !self.pulls.contains_key(&key),
                "an interrupted pull goes on"
            );
        }
        if let Some((Asker::Socket(id), _)) = notes.said {
            assert!(!self.has_pull_too_many(id), "a pull too many goes on");
        }
        let head = self.head();
        let is_excused = notes.faulted || notes.is_farewell;
        for ((id, _), pull) in &mut self.pulls {
            if pull.is_called {
                pull.turn_ended_called(head, is_excused);
            } else if let Some(log) = self.epochs.last() {
                let conduct = self.conducts.get(id).expect("a pull of nobody");
                pull.turn_ended(log, head, conduct, (self.moment, notes.is_farewell));
            }
        }
        if !notes.is_farewell {
            let conducts = self.conducts.values();
            conducts.for_each(|conduct| conduct.turn_ended(self.moment));
        }
        // A room with a timer cannot hibernate.
        let waits = self.pulls.values().any(Subscription::waits)
            || self.conducts.values().any(Conduct::is_doubted);
        assert!(
            waits || !notes.timer_set,
            "a timer is set, and nobody waits"
        );
        if let Some(id) = notes.behind
            && let Some(feed) = self.feeds.get_mut(&id)
        {
            feed.fell_behind();
        }
        for feed in self.feeds.values() {
            feed.turn_ended(head);
        }
    }

    /// Another room instance goes on from the attachments.
    pub fn woke(&mut self) {
        let log = self.epochs.last();
        self.pulls.values_mut().for_each(|pull| pull.woke(log));
        self.conducts.values_mut().for_each(Conduct::woke);
    }

    /// The host closed all sockets and broke off all answers. The subscribers
    /// that are left live on.
    pub fn crashed(&mut self, left: &BTreeMap<ConnectionId, Subscriber>) {
        let before = std::mem::take(self);
        self.epochs = before.epochs;
        self.moment = before.moment;
        let is_left = |id: &ConnectionId| left.contains_key(id);
        self.owners = before.owners;
        self.owners.retain(|id, _| is_left(id));
        self.pulls = before.pulls;
        self.pulls.retain(|(id, _), _| is_left(id));
    }

    /// Who called is called from here on, from where its answer ended.
    pub fn subscribed(&mut self, id: ConnectionId) {
        self.forget(id);
        let (request, cursor) = self.subscribing.take().expect("I3: nobody subscribes");
        self.owners.insert(id, Owner::Object);
        let pull = Subscription::of_subscriber(cursor);
        self.pulls.insert((id, request), pull);
    }

    /// Another writer appended to the log.
    pub fn intruded(&mut self, batch: &[Rc<StoredEvent>]) {
        self.believed = Some(self.head());
        let log = self.epochs.last_mut().expect("stored without a log");
        log.append(batch);
    }

    /// Whether there was another writer that the room does not know of.
    pub fn is_misled(&self) -> bool {
        self.believed.is_some()
    }

    /// Storage has told the room where the log's head is.
    pub fn learnt(&mut self) {
        if self.believed.take().is_some() {
            seen("another writer was noticed");
            let head = self.head();
            self.pulls.values_mut().for_each(|it| it.overtaken(head));
        }
    }

    pub fn faulted(&mut self) {
        if let Some((_, said)) = &self.turn.said
            && let Meaning::Pull {
                cursor: Some((_, after)),
                ..
            } = &said.meaning
            && *after > self.head()
            && self.believed.is_some()
        {
            seen("a look beyond the head that failed");
        }
        self.turn.faulted = true;
        for answer in self.answers.values_mut() {
            answer.faulted = true;
        }
    }

    /// I8: a log is created once.
    pub fn created(&mut self, backend_id: String) {
        assert!(self.epochs.is_empty(), "I8: the log is there already");
        self.epochs.push(Epoch::new(backend_id));
    }

    /// I8: only an administrator empties it.
    pub fn reset(&mut self, backend_id: String) {
        let said = self.turn.said.as_ref().map(|(_, said)| &said.meaning);
        assert!(matches!(said, Some(Meaning::AdminReset)), "I8: a reset");
        self.epochs.push(Epoch::new(backend_id));
        self.believed = None;
        seen("a reset");
        self.feeds.values_mut().for_each(Feed::went_astray);
    }

    /// I2: what is stored is what was pushed, as a whole.
    pub fn appended(&mut self, batch: Vec<Rc<StoredEvent>>) {
        let (Meaning::Push { batch: pushed, .. } | Meaning::PushV3 { batch: pushed, .. }) = &self
            .turn
            .said
            .as_ref()
            .expect("stored for nobody")
            .1
            .meaning
        else {
            panic!("I2: stored without a push")
        };
        assert!(
            pushed.len() == batch.len() && batch.iter().zip(pushed).all(|(a, b)| is_same(a, b)),
            "I2: what was stored is not what was pushed"
        );
        assert!(self.turn.appended.is_none(), "I2: one append a push");
        let log = self.epochs.last_mut().expect("stored without a log");
        log.append(&batch);
        self.turn.appended = Some(batch);
    }

    pub fn drain_asked(&mut self, id: ConnectionId) {
        if let Some(feed) = self.feeds.get_mut(&id) {
            feed.drain_asked();
        }
    }

    /// I9: the room closes a socket only when storage fails, for a live pull
    /// too many, or if it never pulled and should have.
    pub fn closed(&mut self, id: ConnectionId, code: u16) {
        if code == 1013 {
            let said = self.turn.said.as_ref().map(|(_, said)| &said.meaning);
            assert!(matches!(said, Some(Meaning::Pull { live: true, .. })));
            assert!(self.has_pull_too_many(id), "I9: {code} for few pulls");
            seen("a socket closed for a pull too many");
        } else if code == 4409 {
            let conduct = self.conducts.get(&id).expect("I9: no 0.4 socket");
            conduct.closed(self.moment);
        } else if self.owners.get(&id) == Some(&Owner::Object) {
            let said = self.turn.said.as_ref().map(|(_, said)| &said.meaning);
            assert!(matches!(said, Some(Meaning::AdminReset)), "I9: {code}");
        } else {
            assert!(self.turn.faulted, "I9: closed with {code} without a fault");
            assert_eq!(code, 1011);
            seen(if self.feeds.contains_key(&id) {
                "a 0.3 socket closed because its catching up failed"
            } else {
                "a socket closed for a storage fault"
            });
        }
        let asker = self.turn.said.as_ref().map(|(asker, _)| *asker);
        self.turn.asker_closed |= asker == Some(Asker::Socket(id));
        self.forget(id);
    }

    fn has_pull_too_many(&self, id: ConnectionId) -> bool {
        self.pulls.keys().filter(|(of, _)| *of == id).count() > PULLS_MAX
    }

    fn forget(&mut self, id: ConnectionId) {
        self.owners.remove(&id);
        self.conducts.remove(&id);
        self.feeds.remove(&id);
        self.pulls.retain(|(connection, _), _| *connection != id);
    }
}
