//! The oracle: replays what was committed, in order, and checks each thing
//! that anybody was sent or that was stored. See `simulation.rs` for what it
//! promises.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use syncline_guest::imports::{ConnectionId, StoredEvent};
use syncline_guest::protocol::v3;

use super::coverage::seen;
use super::feed::Feed;
use super::history::{Epoch, is_same};
use super::http_answer::HttpAnswer;
use super::network::{Meaning, Owner, Said};
use super::rules::Rules;
use super::subscription::Subscription;
use super::wire::{Body, Exit, Frame};
use super::world::Turn;

/// All that the checks need to know.
#[derive(Debug, Default)]
pub struct Oracle {
    pub epochs: Vec<Epoch>,
    rules: Rules,
    owners: BTreeMap<ConnectionId, Owner>,
    pulls: BTreeMap<(ConnectionId, String), Subscription>,
    feeds: BTreeMap<ConnectionId, Feed>,
    answers: BTreeMap<u32, HttpAnswer>,
    turn: Notes,
}

/// What has to hold of the turn under way.
#[derive(Debug, Default)]
struct Notes {
    said: Option<(Asker, Rc<Said>)>,
    answers: u32,
    appended: Option<Vec<Rc<StoredEvent>>>,
    faulted: bool,
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
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            ..Self::default()
        }
    }

    fn log(&self) -> &Epoch {
        self.epochs.last().expect("an answer without a log")
    }

    fn head(&self) -> u64 {
        self.epochs.last().map_or(0, Epoch::head)
    }

    /// A turn begins.
    pub fn turn(&mut self, turn: &Turn) {
        match turn {
            Turn::Opened(id, owner) => {
                self.owners.insert(*id, *owner);
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
            Turn::Gone(id) => self.forget(*id),
            Turn::Request(id, said) => {
                self.turn.said = Some((Asker::Http(*id), Rc::clone(said)));
                self.answers.insert(*id, HttpAnswer::new(said));
            }
            Turn::Resume(_) => {}
        }
    }

    fn message(&mut self, id: ConnectionId, meaning: &Meaning) {
        match meaning {
            Meaning::Pull {
                id: request,
                live,
                cursor,
            } => {
                let after = cursor.as_ref().map_or(0, |(_, after)| *after);
                let pull = Subscription::new(*live, after, self.rules);
                self.pulls.insert((id, request.clone()), pull);
            }
            Meaning::Ack(request) => {
                if let Some(pull) = self.pulls.get_mut(&(id, request.clone())) {
                    pull.acknowledged();
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

    /// A turn has ended.
    pub fn turn_ended(&mut self) {
        let notes = std::mem::take(&mut self.turn);
        if let Some((asker, said)) = &notes.said
            && let Meaning::Push { .. } | Meaning::PushV3 { .. } = said.meaning
        {
            assert_eq!(notes.answers, 1, "a push of {asker:?} has its one answer");
        } else {
            assert!(notes.appended.is_none(), "stored without a push");
        }
        let head = self.head();
        for pull in self.pulls.values_mut() {
            pull.turn_ended(head);
        }
        if let Some(id) = notes.behind
            && !notes.faulted
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
        self.pulls.values_mut().for_each(Subscription::woke);
    }

    /// The host closed all sockets and broke off all answers.
    pub fn crashed(&mut self) {
        let Self { epochs, rules, .. } = std::mem::take(self);
        (self.epochs, self.rules) = (epochs, rules);
    }

    pub fn faulted(&mut self) {
        self.turn.faulted = true;
        for answer in self.answers.values_mut() {
            answer.faulted = true;
        }
        if let Some((Asker::Socket(id), _)) = self.turn.said
            && let Some(feed) = self.feeds.get_mut(&id)
        {
            feed.faulted();
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

    /// D10: the room closes a socket only when storage fails.
    pub fn closed(&mut self, id: ConnectionId, code: u16) {
        assert!(self.turn.faulted, "I9: closed with {code} without a fault");
        assert_eq!(code, 1011);
        seen("a socket closed for a storage fault");
        self.forget(id);
    }

    fn forget(&mut self, id: ConnectionId) {
        self.owners.remove(&id);
        self.feeds.remove(&id);
        self.pulls.retain(|(connection, _), _| *connection != id);
    }

    /// A frame was sent.
    pub fn sent(&mut self, to: &[ConnectionId], frame: &Frame) {
        let distinct: BTreeSet<_> = to.iter().collect();
        assert_eq!(distinct.len(), to.len(), "I3: one frame twice to a socket");
        for &id in to {
            match self.owners.get(&id) {
                Some(Owner::V4) => self.sent_v4(id, frame),
                Some(Owner::V3 { .. }) => self.sent_v3(id, frame),
                Some(Owner::Admin) | None => {}
            }
        }
    }

    fn sent_v4(&mut self, id: ConnectionId, frame: &Frame) {
        match &frame.body {
            Body::Chunk {
                request,
                events,
                remaining,
                backend_id,
            } => {
                let log = self.epochs.last().expect("a Chunk without a log");
                assert_eq!(*backend_id, log.backend_id, "I8: the backend id");
                let pull = self.pulls.get_mut(&(id, request.clone()));
                let pull = pull.expect("I3: a Chunk for a pull that is not there");
                pull.chunk(log, frame.bytes, events, *remaining);
            }
            Body::Exit { request, exit } => {
                if let Some(pull) = self.pulls.remove(&(id, request.clone())) {
                    self.pull_ended(id, &pull, exit);
                } else {
                    self.push_answered(Asker::Socket(id), request, exit);
                }
            }
            Body::Pong => {}
            other => panic!("a 0.4 client was sent {other:?}"),
        }
    }

    fn pull_ended(&self, id: ConnectionId, pull: &Subscription, exit: &Exit) {
        let said = self.turn.said.as_ref().map(|(_, said)| &said.meaning);
        match exit {
            Exit::Success => pull.succeeded(),
            Exit::Interrupted => {
                seen("a pull was interrupted");
                assert!(matches!(said, Some(Meaning::Interrupt)));
            }
            Exit::Unknown { code } => {
                assert!(!pull.live, "D10: a live pull of {id} ended with {code}");
                assert!(self.turn.faulted, "{code} without a fault");
            }
            Exit::BackendIdMismatch { expected, received } => {
                assert_eq!(*expected, self.log().backend_id, "I8: the backend id");
                match said {
                    Some(Meaning::AdminReset) => seen("a live pull ended by a reset"),
                    Some(Meaning::Pull {
                        cursor: Some((given, _)),
                        ..
                    }) => assert!(given != expected && given == received, "I8: no mismatch"),
                    other => panic!("I8: a pull ended with a mismatch by {other:?}"),
                }
            }
            Exit::ServerAhead { .. } => panic!("a pull ended with a ServerAheadError"),
        }
    }

    /// I1, I4: a push's answer is the truth.
    fn push_answered(&mut self, asker: Asker, request: &str, exit: &Exit) {
        self.turn.answers += 1;
        let (by, said) = self.turn.said.clone().expect("an answer to nobody");
        let Meaning::Push {
            id,
            backend_id,
            batch,
        } = &said.meaning
        else {
            panic!("{exit:?} for {request}, which is no push")
        };
        assert!(by == asker && id == request, "an answer to another push");
        let stored = self.turn.appended.is_some();
        assert_eq!(*exit == Exit::Success, stored, "I1: {exit:?}");
        match exit {
            Exit::Success => {
                seen("a push was accepted");
                assert!(self.log().holds(batch), "I1: not in the log");
            }
            Exit::ServerAhead { head, provided } => {
                seen("a push was refused: ServerAheadError");
                assert_eq!(*head, self.log().head(), "I4: the head");
                assert_eq!(*provided, batch[0].parent_seq_num, "I4: the parent");
                assert_ne!(
                    head, provided,
                    "I4: refused, although its parent is the head"
                );
            }
            Exit::BackendIdMismatch { expected, received } => {
                assert_eq!(*expected, self.log().backend_id, "I8: the backend id");
                seen("a push was refused: BackendIdMismatchError");
                assert!(backend_id == received && received != expected, "I8");
            }
            Exit::Unknown { code } => {
                seen("a push was refused: storage");
                assert!(self.turn.faulted && code.starts_with("STORAGE_"), "{code}");
            }
            Exit::Interrupted => panic!("a push was interrupted"),
        }
    }

    fn sent_v3(&mut self, id: ConnectionId, frame: &Frame) {
        let Some(feed) = self.feeds.get_mut(&id) else {
            return;
        };
        match &frame.body {
            Body::PullRes {
                is_pull,
                request,
                events,
                remaining,
            } => {
                let log = self.epochs.last().expect("a PullRes without a log");
                feed.pull_res(log, frame.bytes, *is_pull, request, events, *remaining);
            }
            Body::PushAck { request } => {
                feed.acknowledged();
                let batch = self.answered_v3(id, request);
                let Meaning::PushV3 { batch, .. } = &batch.meaning else {
                    panic!("a PushAck for no push")
                };
                if self.turn.appended.is_none() {
                    seen("a 0.3 push was repeated and acknowledged");
                }
                assert!(self.log().holds(batch), "I1: not in the log");
            }
            Body::Error { message, .. } if self.turn.faulted => {
                // The push's own, or one about the pages after it.
                assert!(!message.is_empty());
                feed.faulted();
                self.turn.answers = 1;
            }
            Body::Error { request, message } => {
                let said = self.answered_v3(id, request);
                let Meaning::PushV3 { batch, .. } = &said.meaning else {
                    panic!("{message} without a fault")
                };
                let (head, provided) = (self.log().head(), batch[0].parent_seq_num);
                assert_eq!(*message, v3::server_ahead_text(head, provided), "I4");
                assert!(head != provided && self.turn.appended.is_none(), "I4");
                if provided < head {
                    self.turn.behind = Some(id);
                }
            }
            other => panic!("a 0.3 client was sent {other:?}"),
        }
    }

    fn answered_v3(&mut self, id: ConnectionId, request: &str) -> Rc<Said> {
        self.turn.answers += 1;
        let (by, said) = self.turn.said.clone().expect("an answer to nobody");
        assert_eq!(by, Asker::Socket(id), "an answer to another client");
        let (Meaning::PushV3 { id: asked, .. } | Meaning::PullV3 { id: asked, .. }) = &said.meaning
        else {
            panic!("an answer to nothing")
        };
        assert_eq!(asked, request, "an answer to another request");
        said
    }

    /// A page of an HTTP answer; the frames, once it is complete.
    pub fn page(&mut self, exchange: u32, body: &str, is_last: bool) -> Option<Vec<Frame>> {
        let answer = self.answers.get_mut(&exchange).expect("an answer");
        answer.page(self.epochs.last(), body);
        if !is_last {
            return None;
        }
        let answer = self.answers.remove(&exchange)?;
        let frames = answer.frames();
        if let Meaning::Push { .. } = answer.said.meaning {
            assert_eq!(frames.len(), 1, "a push has one answer");
            if let Body::Exit { request, exit } = &frames[0].body {
                self.push_answered(Asker::Http(exchange), request, exit);
            }
        } else {
            answer.check_pull(&self.epochs, &frames);
        }
        Some(frames)
    }
}
