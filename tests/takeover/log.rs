//! A store's log as raw clients see it.

use serde_json::{Value, json};
use syncline_tests::rpc::{Client, batch, event, event_with};
use syncline_tests::server::Server;

/// A log.
#[derive(Debug, Clone, PartialEq)]
pub struct Log {
    pub backend_id: String,
    /// Every event with its metadata.
    pub items: Vec<Value>,
}

impl Log {
    /// Pulls all of it, by 0.4.
    pub fn pull(server: &Server, store: &str) -> Self {
        let mut client = Client::open(server, store);
        let backend_id = client.backend_id();
        let (chunks, exit) = client.pull_all(None);
        assert_eq!(exit["_tag"], "Success", "{exit}");
        for chunk in &chunks {
            assert_eq!(chunk["values"][0]["backendId"], backend_id);
        }
        let items = chunks.iter().flat_map(batch).map(|item| {
            let mut item = item.clone();
            let event = item["eventEncoded"].as_object_mut().expect("an event");
            // The original makes null of args that are not there.
            if event.get("args") == Some(&Value::Null) {
                event.shift_remove("args");
            }
            item
        });
        Self {
            backend_id,
            items: items.collect(),
        }
    }

    pub fn head(&self) -> u64 {
        self.items.len() as u64
    }

    /// The events alone.
    pub fn events(&self) -> Vec<Value> {
        let events = self.items.iter().map(|item| item["eventEncoded"].clone());
        events.collect()
    }

    /// Sees that it is `before`, with nothing changed, and `more` events.
    pub fn assert_continues(&self, before: &Self, more: &[Value]) {
        assert_eq!(self.backend_id, before.backend_id, "I8");
        let (old, new) = self.items.split_at(before.items.len());
        for (now, then) in old.iter().zip(&before.items) {
            assert_eq!(now, then, "an event came back changed");
        }
        let new: Vec<_> = new
            .iter()
            .map(|item| item["eventEncoded"].clone())
            .collect();
        assert_eq!(new, more);
    }
}

/// Sees that a server's next event is the one after `head`: what is pushed
/// elsewhere is refused, and by that number.
pub fn assert_head(server: &Server, store: &str, head: u64) {
    let mut client = Client::open(server, store);
    for wrong in [head, head + 2].into_iter().filter(|&n| n > 0) {
        let error = client.push_refused(&[event(wrong)]);
        assert_eq!(error["_tag"], "ServerAheadError", "{error}");
        assert_eq!(error["minimumExpectedNum"], head, "{error}");
    }
}

/// Pushes, and returns what the log has then.
pub fn push(server: &Server, store: &str, batch: &[Value]) -> Log {
    Client::open(server, store).push_ok(batch);
    Log::pull(server, store)
}

/// Events of every shape that JSON has, from `first` on.
pub fn many_shapes(first: u64) -> Vec<Value> {
    let shapes = [
        json!({"id": "a", "title": "\"quoted\" \\ \u{e9}\u{1f600}\n\u{0} \u{2028}"}),
        json!({"z": 1, "a": {"deep": [[], {}, null, true, -1.5e-7]}, "": "no name"}),
        json!([1, "two", null, {"three": 3}]),
        json!("a string alone"),
        json!(9_007_199_254_740_991_u64),
        json!({}),
        json!(false),
    ];
    let mut events: Vec<_> = shapes
        .into_iter()
        .zip(first..)
        .map(|(args, seq_num)| event_with(seq_num, args))
        .collect();
    let mut without = event(first + events.len() as u64);
    without.as_object_mut().unwrap().shift_remove("args");
    events.push(without);
    events
}
