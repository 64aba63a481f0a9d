//! A 0.4 client over HTTP (transcript http-01): one request at a time, polls
//! with its cursor, pushes in between.

use fastrand::Rng;

use super::client_v4::cursor_json;
use super::network::{Meaning, Network};
use super::replica::{Replica, batch_json};
use super::wire::{Body, Exit, Frame};

/// A polling client.
#[derive(Debug)]
pub struct ClientHttp {
    pub replica: Replica,
    next_id: u64,
    exchange: Option<u32>,
    /// The last event of the push under way.
    pushing: Option<u64>,
    /// The pull under way is from beyond what it has: another log's cursor.
    is_foreign: bool,
}

impl ClientHttp {
    pub fn new(name: &'static str, heavy: bool) -> Self {
        Self {
            replica: Replica::new(name, heavy),
            next_id: 0,
            exchange: None,
            pushing: None,
            is_foreign: false,
        }
    }

    /// Whether nothing is left to do.
    pub fn is_settled(&self) -> bool {
        self.replica.is_settled() && self.pushing.is_none()
    }

    /// Does one thing.
    pub fn act(&mut self, network: &mut Network, rng: &mut Rng, calm: bool) {
        if let Some(exchange) = self.exchange {
            if let Some(answer) = network.answer(exchange) {
                self.exchange = None;
                let pushed = self.pushing.take();
                for frame in answer.unwrap_or_default() {
                    self.take(&frame, pushed);
                }
            }
            return;
        }
        if !calm && rng.u32(0..25) == 0 {
            // Another device, which has nothing yet.
            self.replica.wipe();
        }
        if !calm && rng.u32(0..4) == 0 {
            self.replica.draft(rng);
        }
        if self.replica.has_unpushed() && self.replica.backend_id.is_some() && rng.bool() {
            self.push(network, rng);
        } else {
            let is_foreign = !calm && rng.u32(0..12) == 0;
            let beyond = if is_foreign { rng.u64(1..50) } else { 0 };
            self.pull(network, beyond);
        }
    }

    fn request(&mut self, procedure: &str, payload: &str) -> (String, String) {
        let id = self.next_id.to_string();
        self.next_id += 1;
        let text = format!(
            r#"{{"_tag":"Request","id":"{id}","tag":"SyncHttpRpc.{procedure}","payload":{{"storeId":"store",{payload}}},"headers":[]}}"#
        );
        (id, text)
    }

    fn pull(&mut self, network: &mut Network, beyond: u64) {
        let cursor = self.replica.backend_id.clone();
        let cursor = cursor.map(|id| (id, self.replica.cursor + beyond));
        self.is_foreign = cursor.is_some() && beyond > 0;
        let payload = format!(r#""cursor":{}"#, cursor_json(cursor.as_ref()));
        let (id, text) = self.request("Pull", &payload);
        let meaning = Meaning::Pull {
            id,
            live: false,
            cursor,
        };
        self.exchange = Some(network.ask(text, meaning));
    }

    fn push(&mut self, network: &mut Network, rng: &mut Rng) {
        let batch = self.replica.batch(rng.usize(1..=150));
        let backend_id = self.replica.backend_id.clone().unwrap();
        self.is_foreign = false;
        self.pushing = batch.last().map(|event| event.seq_num);
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
        self.exchange = Some(network.ask(text, meaning));
    }

    fn take(&mut self, frame: &Frame, pushed: Option<u64>) {
        match &frame.body {
            Body::Chunk {
                events, backend_id, ..
            } => {
                if self.is_foreign {
                    return;
                }
                self.replica.backend_id = Some(backend_id.clone());
                for event in events {
                    self.replica.take(event);
                }
            }
            Body::Exit { exit, .. } => match (exit, pushed) {
                (Exit::Success, Some(last)) => self.replica.acknowledged(last),
                (Exit::BackendIdMismatch { .. }, _) => self.replica.wipe(),
                _ => {}
            },
            other => panic!("an HTTP client was sent {other:?}"),
        }
    }
}
