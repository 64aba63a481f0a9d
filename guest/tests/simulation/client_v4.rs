//! A 0.4 client over WebSocket, as the transcripts ws-01 to ws-05 show it:
//! one live pull a socket, an Ack for each Chunk, no push before a `NoMore`,
//! one push at a time, and after a ServerAheadError none before the pull has
//! delivered what it lacked. Beside it, now and then, another pull.
//!
//! One that reconnects may push before it pulls, or first acknowledge what it
//! was sent on the socket before. One that slept (`room/stranded.rs`) keeps
//! that socket's pull, and never makes another until its socket is closed. And
//! one pushes where a refusal said that the head is, without what lies before.

use std::collections::VecDeque;

use fastrand::Rng;
use syncline_guest::imports::ConnectionId;
use syncline_guest::limits::PULLS_MAX;

use super::network::{Meaning, Network, Owner};
use super::replica::{Replica, batch_json};
use super::wire::{Body, Exit, Frame};

/// How a client acknowledges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    Prompt,
    /// Late, several together.
    Late,
    /// Not before the faults are over.
    Withheld,
}

/// A 0.4 client.
#[derive(Debug)]
pub struct ClientV4 {
    pub replica: Replica,
    pace: Pace,
    next_id: u64,
    /// An event of its own may be in the log, and it was not told.
    is_unsure: bool,
    /// The pull of its last socket.
    last_pull: Option<String>,
    session: Option<Session>,
}

/// What a client is in the middle of on one socket.
#[derive(Debug)]
struct Session {
    connection: ConnectionId,
    /// `None` until it pulls.
    pull: Option<String>,
    /// It slept, and believes that its last socket's pull goes on.
    is_asleep: bool,
    /// It slept, and its socket will be closed for that.
    is_doubted: bool,
    no_more: bool,
    push: Option<Pushed>,
    /// No push before the pull is here.
    wait_for: u64,
    /// Another pull on the socket, besides.
    probe: Option<String>,
    owed: VecDeque<String>,
}

/// A push under way.
#[derive(Debug)]
struct Pushed {
    id: String,
    last: u64,
    /// It was numbered from beyond what its client has.
    is_beyond: bool,
}

impl ClientV4 {
    pub fn new(name: &'static str, heavy: bool, pace: Pace) -> Self {
        Self {
            replica: Replica::new(name, heavy),
            pace,
            // Ids of different clients meet on purpose: the room encodes a
            // frame once for all pulls of one id.
            next_id: 0,
            is_unsure: false,
            last_pull: None,
            session: None,
        }
    }

    /// Whether nothing is left to do.
    pub fn is_settled(&self) -> bool {
        self.replica.is_settled()
            && self
                .session
                .as_ref()
                .is_some_and(|session| session.push.is_none() && session.owed.is_empty())
    }

    /// Does one thing; everything there is to do when it is `calm`.
    pub fn act(&mut self, network: &mut Network, rng: &mut Rng, calm: bool) {
        let Some(session) = &self.session else {
            self.connect(network, rng, calm);
            return;
        };
        if session.pull.is_none() && !session.is_asleep && (calm || rng.u32(0..6) == 0) {
            self.pull_live(network);
            return;
        }
        if calm {
            while self.hear(network) {}
            self.acknowledge(network, usize::MAX);
            self.push(network, rng);
            self.reload(network);
            return;
        }
        match rng.u32(0..100) {
            0..=39 => {
                self.hear(network);
            }
            40..=64 => match self.pace {
                Pace::Prompt => self.acknowledge(network, usize::MAX),
                Pace::Late if rng.u32(0..6) == 0 => self.acknowledge(network, rng.usize(1..5)),
                Pace::Late | Pace::Withheld => {}
            },
            65..=76 => self.replica.draft(rng),
            77..=93 => self.push(network, rng),
            94 => self.ping(network),
            95..=97 => self.probe(network, rng),
            98 => self.interrupt_probe(network),
            _ => self.lose_socket(network, rng),
        }
    }

    fn request(&mut self, procedure: &str, payload: &str) -> (String, String) {
        let id = self.next_id.to_string();
        self.next_id += 1;
        let text = format!(
            r#"{{"_tag":"Request","id":"{id}","tag":"SyncWsRpc.{procedure}","payload":{{"storeId":"store",{payload}}},"traceId":"t","spanId":"s","sampled":false,"headers":[]}}"#
        );
        (id, text)
    }

    fn pull(
        &mut self,
        network: &mut Network,
        connection: ConnectionId,
        live: bool,
        after: u64,
        again: Option<String>,
    ) -> String {
        let cursor = self.replica.backend_id.clone().map(|id| (id, after));
        let payload = format!(r#""live":{live},"cursor":{}"#, cursor_json(cursor.as_ref()));
        let (new_id, text) = self.request("Pull", &payload);
        let (id, text) = match again {
            None => (new_id, text),
            Some(id) => {
                let text = text.replace(&format!(r#""id":"{new_id}""#), &format!(r#""id":"{id}""#));
                (id, text)
            }
        };
        let meaning = Meaning::Pull {
            id: id.clone(),
            live,
            cursor,
        };
        network.say(connection, text, meaning);
        id
    }

    fn connect(&mut self, network: &mut Network, rng: &mut Rng, calm: bool) {
        let connection = network.connect(Owner::V4);
        let last_pull = self.last_pull.clone();
        self.session = Some(Session {
            connection,
            pull: None,
            is_asleep: false,
            is_doubted: false,
            no_more: false,
            push: None,
            wait_for: 0,
            probe: None,
            owed: VecDeque::new(),
        });
        let is_new = self.replica.backend_id.is_none();
        match (rng.u32(0..8), last_pull) {
            (0, Some(last_pull)) if !calm && !is_new => {
                if let Some(session) = &mut self.session {
                    session.is_asleep = true;
                    // What came while it slept.
                    session.owed.extend(vec![last_pull; rng.usize(0..3)]);
                }
            }
            // It pushes first, perhaps.
            (1, _) if !calm && !is_new => {}
            (2, Some(last_pull)) => {
                say_ack(network, connection, last_pull);
                self.pull_live(network);
            }
            _ => self.pull_live(network),
        }
    }

    fn pull_live(&mut self, network: &mut Network) {
        let Some(connection) = self.session.as_ref().map(|session| session.connection) else {
            return;
        };
        let pull = self.pull(network, connection, true, self.replica.cursor, None);
        self.last_pull = Some(pull.clone());
        if let Some(session) = &mut self.session {
            session.pull = Some(pull);
        }
    }

    /// One that slept, and that the room has no reason to close, is reloaded
    /// by its user: nobody else can know.
    fn reload(&mut self, network: &mut Network) {
        if let Some(session) = self
            .session
            .take_if(|session| session.is_asleep && !session.is_doubted && session.push.is_none())
        {
            network.lose(session.connection, 0);
        }
    }

    fn ping(&self, network: &mut Network) {
        if let Some(session) = &self.session {
            let text = r#"{ "_tag": "Ping" }"#.to_owned();
            network.say(session.connection, text, Meaning::Ping);
        }
    }

    /// Another pull on the same socket, from somewhere before; or several.
    fn probe(&mut self, network: &mut Network, rng: &mut Rng) {
        let Some(session) = self.session.as_ref().filter(|it| it.pull.is_some()) else {
            return;
        };
        let connection = session.connection;
        let again = session.probe.clone().filter(|_| rng.bool());
        // Now and then more than a room allows.
        let count = match (&again, rng.u32(0..10)) {
            (None, 0) => PULLS_MAX,
            _ => 1,
        };
        for _ in 0..count {
            let after = if rng.bool() {
                // One that was at another server, or before a backup.
                self.replica.cursor + rng.u64(1..50)
            } else {
                rng.u64(0..=self.replica.cursor)
            };
            let id = self.pull(network, connection, rng.bool(), after, again.clone());
            if let Some(session) = &mut self.session {
                session.probe = Some(id);
            }
        }
    }

    fn interrupt_probe(&mut self, network: &mut Network) {
        if let Some(session) = &mut self.session
            && let Some(id) = session.probe.take()
        {
            let text = format!(r#"{{"_tag":"Interrupt","requestId":"{id}"}}"#);
            network.say(session.connection, text, Meaning::Interrupt(id));
        }
    }

    fn acknowledge(&mut self, network: &mut Network, count: usize) {
        let Some(session) = &mut self.session else {
            return;
        };
        let count = count.min(session.owed.len());
        for id in session.owed.drain(..count) {
            session.is_doubted |= session.is_asleep;
            say_ack(network, session.connection, id);
        }
    }

    fn push(&mut self, network: &mut Network, rng: &mut Rng) {
        let (Some(session), Some(backend_id)) = (&self.session, self.replica.backend_id.clone())
        else {
            return;
        };
        let lacks = session.wait_for.saturating_sub(self.replica.cursor);
        self.is_unsure &= !self.replica.is_settled();
        let is_rash = lacks > 0 && !self.is_unsure && rng.u32(0..6) == 0;
        let waits = session.push.is_some()
            || (session.pull.is_some() && !session.no_more)
            || (lacks > 0 && !is_rash)
            || !self.replica.has_unpushed();
        if waits {
            return;
        }
        let connection = session.connection;
        // Few at a time are a burst.
        let count = if rng.bool() { 150 } else { 2 };
        let mut batch = self.replica.batch(rng.usize(1..=count));
        let mut beyond = 0;
        if is_rash {
            beyond = session.wait_for.saturating_sub(batch[0].parent_seq_num);
        } else if rng.u32(0..30) == 0 && batch[0].parent_seq_num > 0 {
            // A client that is behind without knowing it.
            for event in &mut batch {
                event.seq_num -= 1;
                event.parent_seq_num -= 1;
            }
        } else if rng.u32(0..30) == 0 && !self.is_unsure {
            // One that is ahead of the log.
            beyond = rng.u64(1..50);
        }
        if beyond > 0 {
            let parents = batch[0].parent_seq_num + beyond..;
            for (event, parent) in batch.iter_mut().zip(parents) {
                event.seq_num = parent + 1;
                event.parent_seq_num = parent;
            }
        }
        let last = batch.last().unwrap().seq_num;
        let payload = format!(
            r#""batch":{},"backendId":{{"_tag":"Some","value":"{backend_id}"}}"#,
            batch_json(&batch)
        );
        let (id, text) = self.request("Push", &payload);
        let meaning = Meaning::Push {
            id: id.clone(),
            backend_id,
            batch,
        };
        network.say(connection, text, meaning);
        if let Some(session) = &mut self.session {
            session.push = Some(Pushed {
                id,
                last,
                is_beyond: beyond > 0,
            });
        }
    }

    fn lose_socket(&mut self, network: &mut Network, rng: &mut Rng) {
        if let Some(session) = self.session.take() {
            self.is_unsure |= session.push.is_some();
            network.lose(session.connection, rng.usize(0..3));
            if rng.u32(0..6) == 0 {
                // Another device, which has nothing yet.
                self.replica.wipe();
            }
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
                self.is_unsure |= session.push.is_some();
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
            Body::Chunk {
                request,
                events,
                remaining,
                backend_id,
            } => {
                session.owed.push_back(request.clone());
                if session.pull.as_ref() == Some(request) {
                    session.no_more |= remaining.is_none();
                    self.replica.backend_id = Some(backend_id.clone());
                    for event in events {
                        self.replica.take(event);
                    }
                }
            }
            Body::Exit { request, exit } => {
                let pushed = session.push.take_if(|pushed| pushed.id == *request);
                match (exit, pushed) {
                    (Exit::BackendIdMismatch { .. }, _) => {
                        // A real client wipes itself and starts again.
                        network.lose(session.connection, 0);
                        self.session = None;
                        self.replica.wipe();
                    }
                    // It landed where its client is not: nothing more before
                    // it has what lies between.
                    (Exit::Success, Some(pushed)) if pushed.is_beyond => {
                        session.wait_for = pushed.last;
                        self.is_unsure = true;
                        // Who tries again, and where the head is, looks like
                        // one that only pushes.
                        session.is_doubted = false;
                    }
                    (Exit::Success, Some(pushed)) => self.replica.acknowledged(pushed.last),
                    (Exit::ServerAhead { head, .. }, Some(_)) => {
                        session.wait_for = *head;
                        session.is_doubted |= session.is_asleep;
                    }
                    // It tries again.
                    (Exit::Unknown { .. }, _) | (_, None) => {}
                    (Exit::Interrupted, Some(_)) => panic!("a push was interrupted"),
                }
            }
            Body::Pong => {}
            other => panic!("a 0.4 client was sent {other:?}"),
        }
    }
}

fn say_ack(network: &mut Network, connection: ConnectionId, id: String) {
    let text = format!(r#"{{"_tag":"Ack","requestId":"{id}"}}"#);
    network.say(connection, text, Meaning::Ack(id));
}

/// A cursor in Effect's encoding of an Option.
pub fn cursor_json(cursor: Option<&(String, u64)>) -> String {
    cursor.map_or_else(
        || r#"{"_tag":"None"}"#.to_owned(),
        |(backend_id, after)| {
            format!(
                r#"{{"_tag":"Some","value":{{"backendId":"{backend_id}","eventSequenceNumber":{after}}}}}"#
            )
        },
    )
}
