//! What every client has, however it speaks: the log as far as it was
//! pulled, and its own events that the log does not hold yet. Rebasing is
//! implicit: pending events have no numbers until they are pushed.

use std::collections::VecDeque;

use fastrand::Rng;
use syncline_guest::imports::StoredEvent;

/// Events that a real client has not pushed yet at once, at most.
const PENDING_MAX: usize = 400;

/// Arguments with whatever a server that re-encodes would change.
const ODD_ARGS: [Option<&str>; 9] = [
    None,
    Some("null"),
    Some("{ \"a\" : 1 }"),
    Some("[1, 2 ,3]"),
    Some("{\"b\":1,\"a\":2,\"b\":3}"),
    Some("1.0e+2"),
    Some("\"\\u00e9\\/\""),
    Some("{\"text\":\"grüße\u{2028}🦀\"}"),
    Some("{}"),
];

/// An event that was committed locally.
#[derive(Debug)]
struct Draft {
    name: String,
    args: Option<String>,
}

/// A client's log and its pending events.
#[derive(Debug)]
pub struct Replica {
    name: &'static str,
    lives: u32,
    /// How large its events may be.
    heavy: bool,
    /// The last event it has of the log.
    pub cursor: u64,
    /// The log's incarnation, once it was told.
    pub backend_id: Option<String>,
    /// The last of its own events that was acknowledged.
    acknowledged: u64,
    /// Where it begins a log that is empty.
    first: u64,
    pending: VecDeque<Draft>,
    drafted: u64,
}

impl Replica {
    pub fn new(name: &'static str, heavy: bool) -> Self {
        Self {
            name,
            lives: 0,
            heavy,
            cursor: 0,
            backend_id: None,
            acknowledged: 0,
            // By its name: a replica that is wiped begins as it did.
            first: if name.starts_with(['a', 'c', 'f']) {
                100
            } else {
                1
            },
            pending: VecDeque::new(),
            drafted: 0,
        }
    }

    /// Forgets everything, as real clients do when the backend id changes.
    /// Its events get another author, so that old ones that show up again
    /// are noticed.
    pub fn wipe(&mut self) {
        let (name, heavy, lives) = (self.name, self.heavy, self.lives + 1);
        *self = Self::new(name, heavy);
        self.lives = lives;
    }

    fn client_id(&self) -> String {
        format!("{}-{}", self.name, self.lives)
    }

    /// Commits some events locally.
    pub fn draft(&mut self, rng: &mut Rng) {
        if self.pending.len() >= PENDING_MAX {
            return;
        }
        let count = match rng.u32(0..20) {
            0 => rng.usize(1..=150),
            1..=4 => rng.usize(1..=20),
            _ => rng.usize(1..=3),
        };
        for _ in 0..count {
            self.drafted += 1;
            let name = match rng.u32(0..8) {
                0 => format!("v1.\"Ünïcode\\\"{}", self.drafted),
                _ => format!("v1.Event{}", self.drafted),
            };
            let args = self.args(rng, count);
            self.pending.push_back(Draft { name, args });
        }
    }

    fn args(&self, rng: &mut Rng, count: usize) -> Option<String> {
        let large = if self.heavy { 5 } else { 400 };
        if count <= 20 && rng.u32(0..large) == 0 {
            let bytes = match rng.u32(0..6) {
                0 => rng.usize(800_000..=950_000),
                1 => rng.usize(100_000..=500_000),
                _ => rng.usize(1_000..=60_000),
            };
            return Some(format!("\"{}\"", "x".repeat(bytes)));
        }
        ODD_ARGS[rng.usize(0..ODD_ARGS.len())].map(str::to_owned)
    }

    /// Whether there is something to push.
    pub fn has_unpushed(&self) -> bool {
        self.pending.len() > self.pushed()
    }

    /// How many of its pending events the log has.
    fn pushed(&self) -> usize {
        let before = match self.cursor {
            // It was the first who wrote to the log.
            0 => self.first - 1,
            cursor => cursor,
        };
        usize::try_from(self.acknowledged.saturating_sub(before)).unwrap()
    }

    /// Whether all of its own events were pulled.
    pub fn is_settled(&self) -> bool {
        self.pending.is_empty()
    }

    /// Whether it has pulled all that was acknowledged.
    pub fn has_pulled_acknowledged(&self) -> bool {
        self.acknowledged <= self.cursor
    }

    /// The next batch, numbered as if the log ended where this client thinks.
    pub fn batch(&self, count: usize) -> Vec<StoredEvent> {
        let parent = self.cursor.max(self.acknowledged);
        // On an empty log the first number is the client's to choose.
        let before = if parent == 0 { self.first - 1 } else { parent };
        self.pending
            .iter()
            .skip(self.pushed())
            .take(count)
            .zip(before..)
            .map(|(draft, previous)| StoredEvent {
                seq_num: previous + 1,
                parent_seq_num: if previous == before { parent } else { previous },
                name: draft.name.clone(),
                args: draft.args.clone(),
                client_id: self.client_id(),
                session_id: "session".to_owned(),
                created_at: String::new(),
            })
            .collect()
    }

    /// The log has its events up to `last`.
    pub fn acknowledged(&mut self, last: u64) {
        self.acknowledged = self.acknowledged.max(last);
    }

    /// Takes an event that was pulled (I3): the one that follows, and its own
    /// events once, in the order it made them.
    pub fn take(&mut self, event: &StoredEvent) {
        assert_eq!(
            event.parent_seq_num, self.cursor,
            "I3: {} has the log up to {} and was given {}",
            self.name, self.cursor, event.seq_num
        );
        self.cursor = event.seq_num;
        if event.client_id == self.client_id() {
            let draft = self.pending.pop_front();
            assert_eq!(
                draft.map(|draft| draft.name).as_deref(),
                Some(event.name.as_str()),
                "{}'s own events came back twice or in another order",
                self.name
            );
        }
    }
}

/// A push's batch as JSON. `args` is the text as it is.
pub fn batch_json(batch: &[StoredEvent]) -> String {
    let quoted = |text: &str| serde_json::to_string(text).unwrap();
    let events: Vec<String> = batch
        .iter()
        .map(|event| {
            let args = event
                .args
                .as_ref()
                .map_or(String::new(), |args| format!("\"args\":{args},"));
            format!(
                r#"{{"name":{},{args}"seqNum":{},"parentSeqNum":{},"clientId":{},"sessionId":{}}}"#,
                quoted(&event.name),
                event.seq_num,
                event.parent_seq_num,
                quoted(&event.client_id),
                quoted(&event.session_id),
            )
        })
        .collect();
    format!("[{}]", events.join(","))
}
