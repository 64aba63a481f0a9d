//! A 0.4 client in another Durable Object (transcripts do-rpc-01 to -04): it
//! pulls and pushes by calls, one at a time, and is called with what is pushed
//! later. A call that it cannot take fails, and is tried again some times. When
//! it was evicted, calls return and nobody takes what they hold, until the app
//! opens its store again, which pulls from the cursor it has.

use fastrand::Rng;

use super::client_v4::cursor_json;
use super::coverage::seen;
use super::network::{Meaning, Network};
use super::replica::{Replica, batch_json};
use super::wire::{Body, Exit, Frame};
use super::world::BINDING;

/// A client that is called.
#[derive(Debug)]
pub struct ClientObject {
    pub replica: Replica,
    name: &'static str,
    next_id: u64,
    exchange: Option<Asked>,
    /// The pull whose calls it takes.
    live: Option<String>,
    /// No push before the pull is here.
    wait_for: u64,
}

/// A call under way.
#[derive(Debug)]
struct Asked {
    exchange: u32,
    what: What,
}

#[derive(Debug, Clone)]
enum What {
    Pull(String),
    /// From beyond what it has: another log's cursor.
    ForeignPull,
    /// Up to this event.
    Push(u64),
}

impl ClientObject {
    pub fn new(name: &'static str, heavy: bool) -> Self {
        Self {
            replica: Replica::new(name, heavy),
            name,
            next_id: 0,
            exchange: None,
            live: None,
            wait_for: 0,
        }
    }

    /// Whether nothing is left to do.
    pub fn is_settled(&self) -> bool {
        self.replica.is_settled() && self.exchange.is_none()
    }

    /// Does one thing; everything there is to do when it is `calm`.
    pub fn act(&mut self, network: &mut Network, rng: &mut Rng, calm: bool) {
        if let Some(asked) = &self.exchange {
            if let Some(answer) = network.answer(asked.exchange) {
                let what = asked.what.clone();
                self.exchange = None;
                self.answered(&answer.unwrap_or_default(), &what);
            }
            return;
        }
        if calm {
            while let Some(frame) = network.call(self.name) {
                self.called(&frame);
            }
            if self.live.is_none() || !network.is_subscribed(self.name) {
                self.pull(network, 0);
            } else {
                self.push(network, rng);
            }
            return;
        }
        match rng.u32(0..100) {
            0..=44 => {
                if let Some(frame) = network.call(self.name) {
                    self.called(&frame);
                }
            }
            // Its object starts again, which takes some tries.
            45..=47 => (0..rng.u32(1..=5)).for_each(|_| network.call_in_vain(self.name)),
            48..=49 => {}
            50..=64 => self.replica.draft(rng),
            65..=89 => self.push(network, rng),
            90..=95 if self.live.is_none() => self.pull(network, 0),
            90..=96 => {}
            // Its app opens its store again.
            97 => self.pull(network, 0),
            98 => self.pull(network, rng.u64(1..50)),
            // It is evicted.
            _ => self.live = None,
        }
    }

    fn request(&mut self, procedure: &str, payload: &str) -> (String, String) {
        let id = self.next_id.to_string();
        self.next_id += 1;
        let text = format!(
            r#"[{{"_tag":"Request","id":"{id}","tag":"SyncDoRpc.{procedure}","payload":{{"storeId":"store",{payload}}},"headers":[]}}]"#
        );
        (id, text)
    }

    fn pull(&mut self, network: &mut Network, beyond: u64) {
        self.live = None;
        let cursor = self.replica.backend_id.clone();
        let cursor = cursor.map(|id| (id, self.replica.cursor + beyond));
        let is_foreign = cursor.is_some() && beyond > 0;
        let payload = format!(
            r#""live":true,"cursor":{},"rpcContext":{{"callerContext":{{"bindingName":"{BINDING}","durableObjectId":"{}"}}}}"#,
            cursor_json(cursor.as_ref()),
            self.name
        );
        let (id, text) = self.request("Pull", &payload);
        let meaning = Meaning::Pull {
            id: id.clone(),
            live: true,
            cursor,
        };
        let what = if is_foreign {
            What::ForeignPull
        } else {
            What::Pull(id)
        };
        self.ask(network, text, meaning, what);
    }

    fn push(&mut self, network: &mut Network, rng: &mut Rng) {
        let Some(backend_id) = self.replica.backend_id.clone() else {
            return;
        };
        if !self.replica.has_unpushed() || self.replica.cursor < self.wait_for {
            return;
        }
        let batch = self.replica.batch(rng.usize(1..=100));
        let last = batch.last().unwrap().seq_num;
        let payload = format!(
            r#""batch":{},"backendId":{{"_tag":"Some","value":"{backend_id}"}}"#,
            batch_json(&batch)
        );
        let (id, text) = self.request("Push", &payload);
        let meaning = Meaning::Push {
            id,
            backend_id,
            batch,
        };
        self.ask(network, text, meaning, What::Push(last));
    }

    fn ask(&mut self, network: &mut Network, text: String, meaning: Meaning, what: What) {
        let exchange = network.ask_by_call(text, meaning);
        self.exchange = Some(Asked { exchange, what });
    }

    fn answered(&mut self, frames: &[Frame], what: &What) {
        for frame in frames {
            match (&frame.body, what) {
                (_, What::ForeignPull) => {}
                (
                    Body::Chunk {
                        events, backend_id, ..
                    },
                    What::Pull(_),
                ) => {
                    self.replica.backend_id = Some(backend_id.clone());
                    for event in events {
                        self.replica.take(event);
                    }
                }
                (Body::Exit { exit, .. }, what) => match (exit, what) {
                    (Exit::Success, What::Pull(id)) => self.live = Some(id.clone()),
                    (Exit::Success, What::Push(last)) => self.replica.acknowledged(*last),
                    (Exit::ServerAhead { head, .. }, _) => self.wait_for = *head,
                    (Exit::BackendIdMismatch { .. }, _) => {
                        self.replica.wipe();
                        self.live = None;
                        self.wait_for = 0;
                    }
                    _ => {}
                },
                (other, _) => panic!("an object was answered {other:?}"),
            }
        }
    }

    /// A call with a frame.
    fn called(&mut self, frame: &Frame) {
        let Body::Chunk {
            request, events, ..
        } = &frame.body
        else {
            panic!("an object was called with {:?}", frame.body)
        };
        if self.live.as_ref() == Some(request) {
            seen("a subscriber was called");
            for event in events {
                self.replica.take(event);
            }
        }
    }
}
