//! A 0.4 client over WebSocket, as the transcripts ws-01 to ws-05 show it:
//! one live pull a socket, an Ack for each Chunk, no push before a `NoMore`,
//! one push at a time, and after a ServerAheadError none before the pull has
//! delivered what it lacked. Beside it, now and then, another pull.

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
    session: Option<Session>,
}

/// What a client is in the middle of on one socket.
#[derive(Debug)]
struct Session {
    connection: ConnectionId,
    pull: String,
    no_more: bool,
    push: Option<(String, u64)>,
    /// No push before the pull is here.
    wait_for: u64,
    /// Another pull on the socket, besides.
    probe: Option<String>,
    owed: VecDeque<String>,
}

impl ClientV4 {
    pub fn new(name: &'static str, heavy: bool, pace: Pace) -> Self {
        Self {
            replica: Replica::new(name, heavy),
            pace,
            // Ids of different clients meet on purpose: the room encodes a
            // frame once for all pulls of one id.
            next_id: 0,
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
        if self.session.is_none() {
            self.connect(network);
            return;
        }
        if calm {
            while self.hear(network) {}
            self.acknowledge(network, usize::MAX);
            self.push(network, rng);
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
    ) -> String {
        let cursor = self.replica.backend_id.clone().map(|id| (id, after));
        let payload = format!(r#""live":{live},"cursor":{}"#, cursor_json(cursor.as_ref()));
        let (id, text) = self.request("Pull", &payload);
        let meaning = Meaning::Pull {
            id: id.clone(),
            live,
            cursor,
        };
        network.say(connection, text, meaning);
        id
    }

    fn connect(&mut self, network: &mut Network) {
        let connection = network.connect(Owner::V4);
        let pull = self.pull(network, connection, true, self.replica.cursor);
        self.session = Some(Session {
            connection,
            pull,
            no_more: false,
            push: None,
            wait_for: 0,
            probe: None,
            owed: VecDeque::new(),
        });
    }

    fn ping(&self, network: &mut Network) {
        if let Some(session) = &self.session {
            let text = r#"{ "_tag": "Ping" }"#.to_owned();
            network.say(session.connection, text, Meaning::Ping);
        }
    }

    /// Another pull on the same socket, from somewhere before; or several.
    fn probe(&mut self, network: &mut Network, rng: &mut Rng) {
        let Some(connection) = self.session.as_ref().map(|session| session.connection) else {
            return;
        };
        // Now and then more than a room allows.
        let count = if rng.u32(0..10) == 0 { PULLS_MAX } else { 1 };
        for _ in 0..count {
            let after = if rng.bool() {
                // One that was at another server, or before a backup.
                self.replica.cursor + rng.u64(1..50)
            } else {
                rng.u64(0..=self.replica.cursor)
            };
            let id = self.pull(network, connection, rng.bool(), after);
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
            let text = format!(r#"{{"_tag":"Ack","requestId":"{id}"}}"#);
            network.say(session.connection, text, Meaning::Ack(id));
        }
    }

    fn push(&mut self, network: &mut Network, rng: &mut Rng) {
        let (Some(session), Some(backend_id)) = (&self.session, self.replica.backend_id.clone())
        else {
            return;
        };
        let waits = session.push.is_some()
            || !session.no_more
            || self.replica.cursor < session.wait_for
            || !self.replica.has_unpushed();
        if waits {
            return;
        }
        let connection = session.connection;
        let mut batch = self.replica.batch(rng.usize(1..=150));
        if rng.u32(0..30) == 0 && batch[0].parent_seq_num > 0 {
            // A client that is behind without knowing it.
            for event in &mut batch {
                event.seq_num -= 1;
                event.parent_seq_num -= 1;
            }
        } else if rng.u32(0..30) == 0 {
            // One that is ahead of the log.
            let beyond = rng.u64(1..50);
            for event in &mut batch {
                event.seq_num += beyond;
                event.parent_seq_num += beyond;
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
            session.push = Some((id, last));
        }
    }

    fn lose_socket(&mut self, network: &mut Network, rng: &mut Rng) {
        if let Some(session) = self.session.take() {
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
                if *request == session.pull {
                    session.no_more |= remaining.is_none();
                    self.replica.backend_id = Some(backend_id.clone());
                    for event in events {
                        self.replica.take(event);
                    }
                }
            }
            Body::Exit { request, exit } => {
                let pushed = session.push.take_if(|(id, _)| id == request);
                match (exit, pushed) {
                    (Exit::BackendIdMismatch { .. }, _) => {
                        // A real client wipes itself and starts again.
                        network.lose(session.connection, 0);
                        self.session = None;
                        self.replica.wipe();
                    }
                    (Exit::Success, Some((_, last))) => self.replica.acknowledged(last),
                    (Exit::ServerAhead { head, .. }, Some(_)) => session.wait_for = *head,
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
