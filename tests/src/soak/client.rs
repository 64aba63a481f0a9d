//! A client whose server may be gone at any moment: it does what LiveStore
//! 0.4 does, and keeps a record of all that it was told.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::rpc::{ack, batch, cursor, failure, pull, push_to, ws_url};
use crate::server::Server;
use crate::socket::{Received, Socket};
use fastrand::Rng;
use serde_json::{Value, json};

/// How long a client waits for a frame before the test fails: it is there so
/// that a hang is a failure.
const FRAME_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a client waits before it comes back to a server that fails.
const PAUSE: Duration = Duration::from_millis(5);

/// One life of the server, as its clients share it.
#[derive(Default)]
pub struct Life {
    /// Set before the server is killed. A socket that ends earlier is a fault.
    pub killed: AtomicBool,
    /// Whether its storage fails at times: then it may refuse pushes, and
    /// close sockets with 1011.
    pub is_faulty: bool,
    /// Pushes acknowledged in this life.
    pub acknowledged: AtomicUsize,
}

/// The socket is gone.
#[derive(Debug)]
struct Gone;

/// An event as a client was shown it.
#[derive(Debug, Clone, PartialEq)]
pub struct Shown {
    /// All of it, with its time.
    text: String,
    /// Whose push it is of.
    pub args: Args,
}

/// What the arguments of every event say: enough to see from the log alone
/// whether a push is whole.
#[derive(Debug, Clone, PartialEq)]
pub struct Args {
    /// Who pushed.
    pub pusher: String,
    /// Which of its pushes.
    pub push: u64,
    /// How many events that has.
    pub of: u64,
    /// Which of them this is.
    pub n: u64,
}

impl Shown {
    /// The items of a Chunk, by their places.
    ///
    /// # Panics
    /// When it is no Chunk of such events.
    #[must_use]
    pub fn all(chunk: &Value) -> Vec<(u64, Self)> {
        batch(chunk)
            .iter()
            .map(|item| {
                let event = &item["eventEncoded"];
                let number = |name: &str| event["args"][name].as_u64().unwrap();
                let args = Args {
                    pusher: event["args"]["pusher"].as_str().unwrap().to_owned(),
                    push: number("push"),
                    of: number("of"),
                    n: number("n"),
                };
                let text = item.to_string();
                (event["seqNum"].as_u64().unwrap(), Self { text, args })
            })
            .collect()
    }
}

/// A push that has its place.
struct Push {
    first: u64,
    events: Vec<Value>,
}

/// What became of pushes that the server's end left without an answer, and
/// how often clients were in each other's way.
#[derive(Default, Clone, Copy)]
pub struct Tally {
    /// Pushes acknowledged.
    pub acknowledged: usize,
    /// Refused from behind the head.
    pub server_ahead: usize,
    /// Refused by storage.
    pub refused: usize,
    /// Without an answer, and in the log.
    pub landed_unanswered: usize,
    /// Without an answer, and not.
    pub lost_unanswered: usize,
}

/// A client with its record. It outlives many servers.
pub struct Client {
    name: String,
    store: String,
    is_pusher: bool,
    rng: Rng,
    /// What its live pull has shown, in order: the event n is at n − 1.
    pub shown: Vec<Shown>,
    /// The store's backend id, once it was told.
    pub backend_id: Option<String>,
    /// Places and arguments of all that was acknowledged to it.
    pub acknowledged: Vec<(u64, Args)>,
    /// What became of its pushes.
    pub tally: Tally,
    unanswered: Option<Push>,
    pushes: u64,
}

impl Client {
    /// One that has nothing yet.
    #[must_use]
    pub fn new(name: String, store: &str, is_pusher: bool, rng: Rng) -> Self {
        Self {
            name,
            store: store.to_owned(),
            is_pusher,
            rng,
            shown: Vec::new(),
            backend_id: None,
            acknowledged: Vec::new(),
            tally: Tally::default(),
            unanswered: None,
            pushes: 0,
        }
    }

    /// Lives until the server is killed.
    ///
    /// # Panics
    /// When the server does what it must not.
    pub fn live(&mut self, server: &Server, life: &Life) {
        loop {
            let Err(Gone) = self.try_live(server, life);
            if life.killed.load(Ordering::SeqCst) {
                return;
            }
            let name = &self.name;
            assert!(life.is_faulty, "{name}: the socket ended before the kill");
            std::thread::sleep(PAUSE);
        }
    }

    fn try_live(&mut self, server: &Server, life: &Life) -> Result<std::convert::Infallible, Gone> {
        let mut wire = Wire::open(server, &self.store, life)?;
        let from = self
            .backend_id
            .as_ref()
            .map(|id| cursor(id, i64::try_from(self.shown.len()).unwrap()));
        wire.send(&pull("0", &self.store, true, from))?;
        while !self.take(&mut wire)? {}
        // What the last server left unanswered has landed or not: nothing of
        // it can be on its way any more.
        let again = self.unanswered.take().filter(|push| !self.has_landed(push));
        if let Some(push) = again {
            self.tally.lost_unanswered += 1;
            self.push(&mut wire, life, push.events)?;
        }
        loop {
            if self.is_pusher {
                let events = self.new_events();
                self.push(&mut wire, life, events)?;
            } else {
                self.take(&mut wire)?;
            }
        }
    }

    /// Takes the next frame in, which has to be a Chunk of the live pull.
    /// Returns whether it says that no more is known.
    fn take(&mut self, wire: &mut Wire<'_>) -> Result<bool, Gone> {
        let frame = wire.receive()?;
        let chunk = self.see(wire, &frame)?;
        assert!(chunk, "{}: a Chunk was due: {frame}", self.name);
        Ok(frame["values"][0]["pageInfo"]["_tag"] == "NoMore")
    }

    /// Takes a Chunk into the record; returns whether the frame is one.
    fn see(&mut self, wire: &mut Wire<'_>, frame: &Value) -> Result<bool, Gone> {
        if frame["_tag"] != "Chunk" {
            return Ok(false);
        }
        let id = frame["values"][0]["backendId"].as_str().unwrap();
        let known = self.backend_id.get_or_insert_with(|| id.to_owned());
        assert_eq!(known, id, "I8: {}", self.name);
        for (seq_num, shown) in Shown::all(frame) {
            let due = self.shown.len() as u64 + 1;
            assert_eq!(seq_num, due, "I3, a gap or a duplicate: {}", self.name);
            self.shown.push(shown);
        }
        wire.send(&ack("0"))?;
        Ok(true)
    }

    /// Pushes until it lands, rebasing as often as others are faster.
    fn push(&mut self, wire: &mut Wire<'_>, life: &Life, events: Vec<Value>) -> Result<(), Gone> {
        let mut events = events;
        loop {
            let first = self.shown.len() as u64 + 1;
            for (event, seq_num) in events.iter_mut().zip(first..) {
                event["seqNum"] = json!(seq_num);
                event["parentSeqNum"] = json!(seq_num - 1);
            }
            let id = wire.next_id();
            let message = push_to(&id, &self.store, &events, self.backend_id.as_deref());
            let push = self.unanswered.insert(Push { first, events });
            let places: Vec<(u64, Args)> = (first..).zip(push.args(&self.name)).collect();
            wire.send(&message)?;
            let exit = loop {
                let frame = wire.receive()?;
                if !self.see(wire, &frame)? {
                    assert_eq!(frame["requestId"], *id, "{}: {frame}", self.name);
                    break frame["exit"].clone();
                }
            };
            let Some(push) = self.unanswered.take() else {
                unreachable!("the push is there until it is answered");
            };
            if exit["_tag"] == "Success" {
                self.acknowledged.extend(places);
                self.tally.acknowledged += 1;
                life.acknowledged.fetch_add(1, Ordering::SeqCst);
                return Ok(());
            }
            let error = failure(&exit);
            let code = error["payload"]["code"].as_str().unwrap_or_default();
            if life.is_faulty && ["STORAGE_FULL", "STORAGE_UNAVAILABLE"].contains(&code) {
                self.tally.refused += 1;
                events = push.events;
                std::thread::sleep(PAUSE);
                continue;
            }
            assert_eq!(error["_tag"], "ServerAheadError", "{}: {error}", self.name);
            self.tally.server_ahead += 1;
            let head = error["minimumExpectedNum"].as_u64().unwrap();
            // I4: the live pull is sure to bring what was missed.
            while (self.shown.len() as u64) < head {
                self.take(wire)?;
            }
            events = push.events;
        }
    }

    /// Whether a push whose answer never came is in the log: whole (I2) and
    /// at the place that it asked for (I4).
    fn has_landed(&mut self, push: &Push) -> bool {
        let start = usize::try_from(push.first - 1).unwrap();
        let mine = |shown: &Shown, args: &Args| shown.args == *args;
        let args = push.args(&self.name);
        let landed = self
            .shown
            .get(start)
            .is_some_and(|shown| mine(shown, &args[0]));
        if landed {
            let there = &self.shown[start..];
            let whole = args.len() <= there.len()
                && there
                    .iter()
                    .zip(&args)
                    .all(|(shown, args)| mine(shown, args));
            assert!(whole, "I2: half a push of {} is in the log", self.name);
            self.tally.landed_unanswered += 1;
        }
        landed
    }

    /// A batch of any size: mostly small, at times of several Chunks, of large
    /// events, or more than SQLite keeps in memory until the commit.
    fn new_events(&mut self) -> Vec<Value> {
        let (of, bytes) = match self.rng.u8(..100) {
            0..50 => (1, 20),
            50..80 => (self.rng.u64(2..10), 100),
            80..90 => (self.rng.u64(10..60), 20),
            90..95 => (self.rng.u64(100..250), 20),
            95..99 => (self.rng.u64(1..5), 40_000),
            _ => (60, 80_000),
        };
        self.pushes += 1;
        (0..of)
            .map(|n| {
                json!({
                    "name": "v1.Killed",
                    "args": {
                        "pusher": self.name,
                        "push": self.pushes,
                        "of": of,
                        "n": n,
                        "text": "x".repeat(self.rng.usize(..=bytes)),
                    },
                    "seqNum": 0,
                    "parentSeqNum": 0,
                    "clientId": self.name,
                    "sessionId": "static",
                })
            })
            .collect()
    }
}

impl Push {
    fn args(&self, pusher: &str) -> Vec<Args> {
        self.events
            .iter()
            .map(|event| Args {
                pusher: pusher.to_owned(),
                push: event["args"]["push"].as_u64().unwrap(),
                of: event["args"]["of"].as_u64().unwrap(),
                n: event["args"]["n"].as_u64().unwrap(),
            })
            .collect()
    }
}

/// A socket whose end is not an error.
struct Wire<'a> {
    socket: Socket,
    life: &'a Life,
    next_id: u64,
}

impl<'a> Wire<'a> {
    fn open(server: &Server, store: &str, life: &'a Life) -> Result<Self, Gone> {
        let socket = Socket::dial(server, &ws_url(store), &[]).map_err(|_| Gone)?;
        if life.killed.load(Ordering::SeqCst) {
            // Its port may be another server's by now.
            return Err(Gone);
        }
        Ok(Self {
            socket,
            life,
            next_id: 0,
        })
    }

    fn next_id(&mut self) -> String {
        self.next_id += 1;
        self.next_id.to_string()
    }

    fn send(&mut self, message: &Value) -> Result<(), Gone> {
        let sent = self.socket.try_send(message.to_string());
        if sent { Ok(()) } else { Err(Gone) }
    }

    /// The next frame. What had left the server before it was killed counts.
    fn receive(&mut self) -> Result<Value, Gone> {
        match self.socket.receive_within(FRAME_TIMEOUT) {
            Some(Received::Text(text)) => Ok(serde_json::from_str(&text).unwrap()),
            Some(Received::Closed(1006, _)) => Err(Gone),
            Some(Received::Closed(1011, _)) if self.life.is_faulty => Err(Gone),
            Some(closed) => panic!("the server is to be killed, not to close: {closed:?}"),
            None => {
                let killed = self.life.killed.load(Ordering::SeqCst);
                panic!("no frame came in {FRAME_TIMEOUT:?} (killed: {killed})");
            }
        }
    }
}
