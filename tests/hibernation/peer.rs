//! A client on one socket, 0.4 or 0.3, that notes what it is shown.

use serde_json::{Value, json};
use syncline_tests::rpc::{batch, cursor, events, push};
use syncline_tests::socket::{Received, Socket};

use crate::rooms::Rooms;
use crate::token;

/// The request id of its pull.
const PULL: &str = "1";

/// A client.
pub struct Peer {
    /// Its socket.
    pub socket: Socket,
    /// The sequence numbers that it was shown, as they came.
    pub seen: Vec<u64>,
    /// Chunks that it was sent.
    pub chunks: usize,
    /// Whether it acknowledges every Chunk at once.
    pub acknowledges: bool,
    /// The backend id of the last Chunk.
    pub backend_id: String,
    store: String,
    next_id: u64,
}

impl Peer {
    /// A 0.4 client.
    pub fn v4(rooms: &Rooms, store: &str) -> Self {
        Self::with_token(rooms, store, "ws", &token::good(store))
    }

    /// A 0.3 client.
    pub fn v3(rooms: &Rooms, store: &str) -> Self {
        Self::with_token(rooms, store, "0.3", &token::good(store))
    }

    /// A client of some transport, with this token.
    pub fn with_token(rooms: &Rooms, store: &str, transport: &str, token: &str) -> Self {
        Self {
            socket: Socket::open(&rooms.server, &token::url(store, transport, Some(token))),
            seen: Vec::new(),
            chunks: 0,
            acknowledges: true,
            backend_id: String::new(),
            store: store.to_owned(),
            next_id: 1,
        }
    }

    /// A 0.4 client with a live pull of the whole log, which ends at `head`.
    pub fn live_v4(rooms: &Rooms, store: &str, head: u64) -> Self {
        let mut peer = Self::v4(rooms, store);
        peer.pull_to(head);
        peer
    }

    /// A 0.3 client that was fed the whole log, which ends at `head`.
    pub fn live_v3(rooms: &Rooms, store: &str, head: u64) -> Self {
        let mut peer = Self::v3(rooms, store);
        peer.pull_to(head);
        peer
    }

    fn pull_to(&mut self, head: u64) {
        self.pull();
        while self.take()["_tag"] == "WSMessage.Pong" || self.last() < head {}
    }

    /// Begins its live pull.
    pub fn pull(&mut self) {
        let store = self.store.clone();
        let message = if self.socket.is_v3 {
            json!({"_tag": "WSMessage.PullReq", "requestId": PULL})
        } else {
            syncline_tests::rpc::pull(PULL, &store, true, None)
        };
        self.socket.send(message);
    }

    /// Begins its live pull from a cursor.
    pub fn pull_from(&mut self, backend_id: &str, after: i64) {
        let cursor = Some(cursor(backend_id, after));
        let message = syncline_tests::rpc::pull(PULL, &self.store, true, cursor);
        self.socket.send(message);
    }

    /// Acknowledges a Chunk.
    pub fn ack(&mut self) {
        self.socket.send(syncline_tests::rpc::ack(PULL));
    }

    /// The last number that it was shown.
    pub fn last(&self) -> u64 {
        self.seen.last().copied().unwrap_or_default()
    }

    /// One frame, its events noted.
    pub fn take(&mut self) -> Value {
        let frame = self.socket.receive_json();
        self.note(&frame);
        frame
    }

    fn note(&mut self, frame: &Value) {
        let tag = frame["_tag"].as_str().unwrap_or_default();
        if tag != "Chunk" && tag != "WSMessage.PullRes" {
            return;
        }
        let numbers = batch(frame)
            .iter()
            .map(|item| item["eventEncoded"]["seqNum"].as_u64().expect("a seqNum"));
        self.seen.extend(numbers);
        if tag == "Chunk" {
            self.chunks += 1;
            let backend_id = frame["values"][0]["backendId"].as_str();
            backend_id
                .unwrap_or_default()
                .clone_into(&mut self.backend_id);
            if self.acknowledges {
                self.ack();
            }
        }
    }

    /// Takes frames until it was shown `last`.
    pub fn until(&mut self, last: u64) {
        while self.last() < last {
            self.take();
        }
    }

    /// Sees that it was shown the whole log, each event once and in order,
    /// and nothing beyond `last`.
    pub fn has_all_to(&mut self, last: u64) {
        self.until(last);
        self.settle();
        assert_eq!(self.seen, (1..=last).collect::<Vec<_>>());
    }

    /// Takes all that was sent by now: what comes before the answer to a
    /// question that the room, not the runtime, answers.
    pub fn settle(&mut self) {
        let (question, answer) = if self.socket.is_v3 {
            (
                json!({"_tag": "WSMessage.Ping", "requestId": "s"}),
                "WSMessage.Pong",
            )
        } else {
            (json!({"_tag": "Ping", "x": 1}), "Pong")
        };
        self.socket.send(question);
        while self.take()["_tag"] != answer {}
    }

    /// Sends a push of the events from `first` to `last`; its id.
    pub fn send_push(&mut self, first: u64, last: u64) -> String {
        self.next_id += 1;
        let id = self.next_id.to_string();
        let batch = events(first, last);
        let message = if self.socket.is_v3 {
            json!({"_tag": "WSMessage.PushReq", "requestId": id, "batch": batch})
        } else {
            push(&id, &self.store, &batch)
        };
        self.socket.send(message);
        id
    }

    /// Pushes the events from `first` to `last`; the Exit of 0.4.
    pub fn push(&mut self, first: u64, last: u64) -> Value {
        let id = self.send_push(first, last);
        loop {
            let frame = self.take();
            if frame["_tag"] == "Exit" && frame["requestId"] == id.as_str() {
                return frame["exit"].clone();
            }
        }
    }

    /// Pushes, and sees it accepted.
    pub fn push_ok(&mut self, first: u64, last: u64) {
        if self.socket.is_v3 {
            let id = self.send_push(first, last);
            while self.take() != json!({"_tag": "WSMessage.PushAck", "requestId": id}) {}
        } else {
            let exit = self.push(first, last);
            assert_eq!(exit, json!({"_tag": "Success", "value": {}}));
        }
    }

    /// Sees the room close it: no frame comes before.
    pub fn is_closed_with(&mut self, code: u16, reason: &str) {
        let received = self.socket.receive();
        assert_eq!(received, Received::Closed(code, reason.to_owned()));
    }
}
