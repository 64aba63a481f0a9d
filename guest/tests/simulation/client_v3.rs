//! A 0.3 client (transcripts v031-ws-01 and v031-ws-02): it pulls once in its
//! life, puts pushes aside until its pull is answered (0.3.1's ws-impl.ts),
//! takes what comes afterwards as it comes, and after a lost socket only its
//! next push tells where it is. It repeats a push that was not answered.
//!
//! What is simplified: a client whose first pull did not complete, or whose
//! socket died between an acknowledgement and what was acknowledged, starts a
//! new life with the log it has; one whose push failed tries again by itself;
//! and it pushes only when it has pulled all that was acknowledged.

use fastrand::Rng;
use syncline_guest::imports::{ConnectionId, StoredEvent};

use super::coverage::seen;

use super::network::{Meaning, Network, Owner};
use super::replica::{Replica, batch_json};
use super::wire::{Body, Frame};

/// A 0.3 client.
#[derive(Debug)]
pub struct ClientV3 {
    pub replica: Replica,
    name: &'static str,
    next_id: u64,
    /// Its one pull is complete.
    has_pulled: bool,
    session: Option<Session>,
}

#[derive(Debug)]
struct Session {
    connection: ConnectionId,
    /// Its pull, if it was made here.
    pull: Option<String>,
    /// Its answer has begun, or there is none to come.
    is_answered: bool,
    /// What was pushed before that.
    stash: Vec<StoredEvent>,
    push: Option<(String, u64)>,
    /// The room knows where the client is: it has pulled here, or pushed.
    is_known: bool,
}

impl ClientV3 {
    pub fn new(name: &'static str, heavy: bool) -> Self {
        Self {
            replica: Replica::new(name, heavy),
            name,
            next_id: 0,
            has_pulled: false,
            session: None,
        }
    }

    /// Whether nothing is left to do.
    pub fn is_settled(&self) -> bool {
        self.replica.is_settled()
            && self.has_pulled
            && self
                .session
                .as_ref()
                .is_some_and(|session| session.push.is_none())
    }

    /// The store was emptied: someone clears the client's data.
    pub fn wipe(&mut self, network: &mut Network) {
        self.replica.wipe();
        self.has_pulled = false;
        if let Some(session) = self.session.take() {
            network.lose(session.connection, 0);
        }
    }

    /// Does one thing; everything there is to do when it is `calm`.
    pub fn act(&mut self, network: &mut Network, rng: &mut Rng, calm: bool) {
        let Some(session) = &self.session else {
            self.connect(network, rng);
            return;
        };
        if calm {
            if !session.is_known && self.replica.is_settled() {
                // Only a push shows a room that it is there.
                self.replica.draft(rng);
            }
            while self.hear(network) {}
            self.push(network, rng);
            return;
        }
        match rng.u32(0..100) {
            0..=54 => {
                self.hear(network);
            }
            55..=69 => self.replica.draft(rng),
            70..=97 => self.push(network, rng),
            _ => self.lose_socket(network, rng),
        }
    }

    fn request_id(&mut self) -> String {
        self.next_id += 1;
        format!("{}-{}", self.name, self.next_id)
    }

    fn connect(&mut self, network: &mut Network, rng: &mut Rng) {
        let cursor = self.replica.cursor;
        let connection = network.connect(Owner::V3 { cursor });
        self.has_pulled &= self.replica.has_pulled_acknowledged();
        let pull = (!self.has_pulled).then(|| self.request_id());
        self.session = Some(Session {
            connection,
            pull: pull.clone(),
            is_answered: self.has_pulled,
            stash: Vec::new(),
            push: None,
            is_known: false,
        });
        let Some(id) = pull else {
            return;
        };
        if rng.bool() {
            // Nothing keeps the first push behind the pull.
            self.push(network, rng);
        }
        let text = if cursor == 0 {
            format!(r#"{{"_tag":"WSMessage.PullReq","requestId":"{id}"}}"#)
        } else {
            format!(r#"{{"_tag":"WSMessage.PullReq","requestId":"{id}","cursor":{cursor}}}"#)
        };
        network.say(connection, text, Meaning::PullV3 { id, cursor });
    }

    fn push(&mut self, network: &mut Network, rng: &mut Rng) {
        let Some(session) = &self.session else {
            return;
        };
        let waits = session.push.is_some()
            || !self.replica.has_unpushed()
            || !self.replica.has_pulled_acknowledged();
        if waits {
            return;
        }
        let connection = session.connection;
        let batch = self.replica.batch(rng.usize(1..=100));
        let last = batch.last().unwrap().seq_num;
        let id = self.request_id();
        let text = format!(
            r#"{{"_tag":"WSMessage.PushReq","requestId":"{id}","batch":{}}}"#,
            batch_json(&batch)
        );
        let meaning = Meaning::PushV3 {
            id: id.clone(),
            batch,
        };
        network.say(connection, text, meaning);
        if let Some(session) = &mut self.session {
            session.push = Some((id, last));
        }
    }

    fn lose_socket(&mut self, network: &mut Network, rng: &mut Rng) {
        if let Some(session) = self.session.take() {
            network.lose(session.connection, rng.usize(0..3));
        }
    }

    /// Takes what has arrived; `false` when there was nothing.
    fn hear(&mut self, network: &mut Network) -> bool {
        let Some(session) = &self.session else {
            return false;
        };
        let connection = session.connection;
        match network.hear(connection) {
            Err(()) => {
                self.session = None;
                false
            }
            Ok(frames) => {
                for frame in &frames {
                    if self.session.is_some() {
                        self.take(network, frame);
                    }
                }
                !frames.is_empty()
            }
        }
    }

    fn take(&mut self, network: &mut Network, frame: &Frame) {
        let Some(session) = &mut self.session else {
            return;
        };
        match &frame.body {
            Body::PullRes {
                is_pull,
                request,
                events,
                remaining,
            } => {
                session.is_known = true;
                if *is_pull && session.pull.as_ref() != Some(request) {
                    return;
                }
                session.is_answered |= is_pull;
                if !session.is_answered {
                    seen("a 0.3 push was shown before the first pull");
                    session.stash.extend(events.iter().cloned());
                    return;
                }
                for event in events {
                    self.replica.take(event);
                }
                if *is_pull && *remaining == 0 {
                    let head = events.last().map_or(0, |event| event.seq_num);
                    let stash = session.stash.iter();
                    for event in stash.skip_while(|event| event.seq_num <= head) {
                        self.replica.take(event);
                    }
                    self.has_pulled = true;
                }
            }
            Body::PushAck { request } => {
                if let Some((_, last)) = session.push.take_if(|(id, _)| id == request) {
                    session.is_known = true;
                    self.replica.acknowledged(last);
                }
            }
            Body::Error { request, .. } => {
                session.push.take_if(|(id, _)| id == request);
                if session.pull.as_ref() == Some(request) {
                    network.lose(session.connection, 0);
                    self.session = None;
                }
            }
            other => panic!("a 0.3 client was sent {other:?}"),
        }
    }
}
