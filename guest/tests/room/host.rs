//! A host as plain as can be: a log in memory, and a record of what the room
//! did. Tests set its clock and break its storage.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use syncline_guest::admission::Admission;
use syncline_guest::imports::{
    AttachError, Callback, Called, Claims, ConnectionId, Connections, Diagnostics, Event, EventLog,
    Level, LogInfo, Method, Opening, QuotaDenied, Quotas, StorageError, StoredEvent,
    SubscribeError, Subscriptions, System, Telemetry, Timer,
};
use syncline_guest::limits::{ATTACHMENT_BYTES_MAX, READ_EVENTS_MAX};
use syncline_guest::protocol::Speech;
use syncline_guest::protocol::Trace;
use syncline_guest::room::{Frame, Room};

/// A request that was answered.
pub struct Answered {
    pub connection: Option<ConnectionId>,
    pub method: Method,
    pub request: String,
    pub events: usize,
    pub refused: Option<&'static str>,
    pub parent: Option<Trace>,
}

/// What the host was told and has to tell.
pub struct Host {
    pub backend_id: String,
    pub events: Vec<StoredEvent>,
    /// The next calls of `open` fail.
    pub open_fails: bool,
    /// The next calls of `read` fail.
    pub read_fails: bool,
    pub now: SystemTime,
    pub env: BTreeMap<&'static str, String>,
    pub sent: Vec<(ConnectionId, String)>,
    pub closed: Vec<(ConnectionId, u16, String)>,
    pub attachments: BTreeMap<ConnectionId, String>,
    pub lines: Vec<String>,
    /// Requests of clients that were ahead of the log.
    pub ahead: u32,
    /// The requests that were answered.
    pub called: Vec<Answered>,
    /// Where subscriptions stood, each time that it was told.
    pub standing: Vec<Subscriptions>,
    /// What each object is called with, by its id.
    pub callbacks: BTreeMap<String, Callback>,
    /// What was sent to several at once, without its heads.
    pub shared: Vec<String>,
    /// The subscribers, by their object's id.
    pub subscribed: BTreeMap<String, ConnectionId>,
    /// What the timer was last set to.
    pub wakes_at: Option<SystemTime>,
    /// Frames and events are not kept, only the head: they are the host's
    /// memory.
    pub discards: Option<u64>,
}

impl Default for Host {
    fn default() -> Self {
        Self {
            backend_id: "first".to_owned(),
            events: Vec::new(),
            open_fails: false,
            read_fails: false,
            now: UNIX_EPOCH + Duration::from_secs(1_700_000_000),
            env: BTreeMap::from([("ENVIRONMENT", "development".to_owned())]),
            sent: Vec::new(),
            closed: Vec::new(),
            attachments: BTreeMap::new(),
            lines: Vec::new(),
            ahead: 0,
            callbacks: BTreeMap::new(),
            shared: Vec::new(),
            called: Vec::new(),
            standing: Vec::new(),
            subscribed: BTreeMap::new(),
            wakes_at: None,
            discards: None,
        }
    }
}

impl Host {
    pub fn head(&self) -> u64 {
        if let Some(head) = self.discards {
            return head;
        }
        self.events.last().map_or(0, |event| event.seq_num)
    }

    /// Another writer appends some events, and tells nobody.
    pub fn write_elsewhere(&mut self, count: u64) {
        for parent in self.head()..self.head() + count {
            self.events.push(StoredEvent {
                seq_num: parent + 1,
                parent_seq_num: parent,
                name: "elsewhere".to_owned(),
                args: None,
                client_id: "another".to_owned(),
                session_id: "s".to_owned(),
                created_at: "2020-01-01T00:00:00.000Z".to_owned(),
            });
        }
    }

    /// What was sent to a connection since the last time.
    pub fn take_sent(&mut self, to: ConnectionId) -> Vec<String> {
        let (to, others) = std::mem::take(&mut self.sent)
            .into_iter()
            .partition(|(id, _)| *id == to);
        self.sent = others;
        let to: Vec<(ConnectionId, String)> = to;
        to.into_iter().map(|(_, frame)| frame).collect()
    }

    /// The log's lines that hold these words.
    pub fn lines_with(&self, words: &str) -> usize {
        let lines = self.lines.iter();
        lines.filter(|line| line.contains(words)).count()
    }
}

/// An admission of somebody.
pub fn admission(speech: Speech, principal: &str) -> Admission {
    Admission {
        store_id: "store".to_owned(),
        speech: Some(speech),
        principal: principal.to_owned(),
        response_headers: Vec::new(),
        auto_response: None,
    }
}

/// Anybody's.
pub fn anybody(speech: Speech) -> Admission {
    admission(speech, r#"{"v":1,"kind":"anonymous"}"#)
}

/// A room that starts.
pub fn start(host: &mut Host) -> Room {
    Room::start(host, "store".to_owned())
}

/// A message on a socket.
pub fn say(room: &mut Room, host: &mut Host, id: ConnectionId, text: impl Into<String>) {
    room.message(host, id, &Frame::Text(text.into()));
}

/// Time passes, in which nothing happens.
pub fn pass(host: &mut Host, ms: u64) {
    host.now += Duration::from_millis(ms);
}

/// The clock is set: forward, or back.
pub fn set_clock(host: &mut Host, back: bool, ms: u64) {
    let by = Duration::from_millis(ms);
    if back {
        host.now -= by;
    } else {
        host.now += by;
    }
}

/// Time passes, and the room's timer is over when it is.
pub fn wait(room: &mut Room, host: &mut Host, ms: u64) {
    let until = host.now + Duration::from_millis(ms);
    while let Some(at) = host.wakes_at.take_if(|at| *at <= until) {
        host.now = at.max(host.now);
        room.wake(host);
    }
    host.now = until;
}

/// What the timer is set to, in milliseconds from now.
pub fn wakes_in_ms(host: &Host) -> Option<u128> {
    let wait = host.wakes_at?.duration_since(host.now).unwrap();
    Some(wait.as_millis())
}

/// A 0.4 pull.
pub fn pull(group: &str, id: &str, live: bool, cursor: Option<(&str, u64)>) -> String {
    let cursor = cursor.map_or_else(
        || r#"{"_tag":"None"}"#.to_owned(),
        |(backend_id, after)| {
            format!(
                r#"{{"_tag":"Some","value":{{"backendId":"{backend_id}","eventSequenceNumber":{after}}}}}"#
            )
        },
    );
    format!(
        r#"{{"_tag":"Request","id":"{id}","tag":"{group}.Pull","payload":{{"storeId":"store","live":{live},"cursor":{cursor}}},"headers":[]}}"#
    )
}

/// A 0.4 push of some events after `parent`.
pub fn push(group: &str, id: &str, parent: u64, count: u64) -> String {
    format!(
        r#"{{"_tag":"Request","id":"{id}","tag":"{group}.Push","payload":{{"storeId":"store","batch":[{}],"backendId":{{"_tag":"None"}}}},"headers":[]}}"#,
        batch(parent, count)
    )
}

/// Some events after `parent`.
pub fn batch(parent: u64, count: u64) -> String {
    let events: Vec<String> = (parent..parent + count)
        .map(|parent| {
            format!(
                r#"{{"name":"n","args":{parent},"seqNum":{},"parentSeqNum":{parent},"clientId":"c","sessionId":"s"}}"#,
                parent + 1
            )
        })
        .collect();
    events.join(",")
}

/// A 0.3 push of a batch.
pub fn push_v3(batch: &str) -> String {
    format!(r#"{{"_tag":"WSMessage.PushReq","requestId":"p","batch":[{batch}]}}"#)
}

/// An Ack.
pub fn ack(id: &str) -> String {
    format!(r#"{{"_tag":"Ack","requestId":"{id}"}}"#)
}

/// The sequence numbers of the events in Chunks.
pub fn numbers(frames: &[String]) -> Vec<u64> {
    let mut numbers = Vec::new();
    for frame in frames {
        let parts = frame.split(r#""seqNum":"#).skip(1);
        numbers.extend(parts.map(|part| {
            let digits = part.split(',').next().unwrap();
            digits.parse::<u64>().unwrap()
        }));
    }
    numbers
}

impl EventLog for Host {
    fn open(&mut self, _: &str) -> Result<LogInfo, StorageError> {
        if self.open_fails {
            return Err(StorageError::Unavailable("simulated".to_owned()));
        }
        Ok(LogInfo {
            head: self.head(),
            backend_id: self.backend_id.clone(),
        })
    }

    fn append(
        &mut self,
        expected_head: u64,
        batch: &[Event<'_>],
        created_at: &str,
    ) -> Result<(), StorageError> {
        if expected_head != self.head() {
            return Err(StorageError::Conflict(self.head()));
        }
        if let (Some(head), Some(last)) = (&mut self.discards, batch.last()) {
            *head = last.seq_num;
            return Ok(());
        }
        self.events.extend(batch.iter().map(|event| StoredEvent {
            seq_num: event.seq_num,
            parent_seq_num: event.parent_seq_num,
            name: event.name.to_owned(),
            args: event.args.map(str::to_owned),
            client_id: event.client_id.to_owned(),
            session_id: event.session_id.to_owned(),
            created_at: created_at.to_owned(),
        }));
        Ok(())
    }

    fn read(
        &mut self,
        after: u64,
        max_events: u32,
        max_bytes: u32,
    ) -> Result<Vec<StoredEvent>, StorageError> {
        if self.read_fails {
            return Err(StorageError::Unavailable("simulated".to_owned()));
        }
        let mut bytes = 0;
        let events = self.events.iter().filter(|event| event.seq_num > after);
        let events = events
            .take(max_events.min(READ_EVENTS_MAX) as usize)
            .enumerate();
        Ok(events
            .take_while(|(index, event)| {
                bytes += event.name.len() + event.args.as_ref().map_or(0, String::len);
                *index == 0 || bytes <= max_bytes.min(4 << 20) as usize
            })
            .map(|(_, event)| event.clone())
            .collect())
    }

    fn reset(&mut self, new_backend_id: &str) -> Result<(), StorageError> {
        self.events.clear();
        new_backend_id.clone_into(&mut self.backend_id);
        Ok(())
    }
}

impl Connections for Host {
    fn send(&mut self, to: &[ConnectionId], frame: &str) {
        if self.discards.is_some() {
            return;
        }
        for &id in to {
            self.sent.push((id, frame.to_owned()));
        }
    }

    fn send_each(&mut self, openings: &[Opening], rest: &str) {
        self.shared.push(rest.to_owned());
        for Opening { to, head } in openings {
            self.send(to, &format!("{head}{rest}"));
        }
    }

    fn close(&mut self, connection: ConnectionId, code: u16, reason: &str) {
        self.attachments.remove(&connection);
        self.closed.push((connection, code, reason.to_owned()));
    }

    fn attach(&mut self, connection: ConnectionId, attachment: &str) -> Result<(), AttachError> {
        if attachment.len() > ATTACHMENT_BYTES_MAX as usize {
            let bytes = u32::try_from(attachment.len()).unwrap();
            return Err(AttachError::TooLarge(bytes));
        }
        self.attachments.insert(connection, attachment.to_owned());
        Ok(())
    }

    fn attached(&mut self) -> Vec<(ConnectionId, String)> {
        self.attachments.clone().into_iter().collect()
    }

    fn subscribe(
        &mut self,
        _: &str,
        object: &str,
        callback: Callback,
    ) -> Result<ConnectionId, SubscribeError> {
        self.callbacks.insert(object.to_owned(), callback);
        let next = (1_000..).nth(self.subscribed.len()).unwrap();
        Ok(*self.subscribed.entry(object.to_owned()).or_insert(next))
    }

    fn notify_drained(&mut self, _: ConnectionId) {}
}

impl Timer for Host {
    fn wake_after(&mut self, ms: u32) {
        self.wakes_at = Some(self.now + Duration::from_millis(ms.into()));
    }
}

/// No room has anything to do with quotas.
impl Quotas for Host {
    fn take(&mut self, _: &str, _: &str, _: u64, _: u64, _: u64) -> Result<(), QuotaDenied> {
        unreachable!()
    }

    fn add(&mut self, _: &str, _: &str, _: u64, _: u64) -> Result<(), QuotaDenied> {
        unreachable!()
    }

    fn hold(&mut self, _: &str, _: &str, _: u32, _: u64) -> Result<u64, QuotaDenied> {
        unreachable!()
    }

    fn let_go(&mut self, _: &str, _: &str, _: u64) -> Result<(), QuotaDenied> {
        unreachable!()
    }
}

impl Claims for Host {
    fn current_version(&mut self, _: &str) -> Result<Option<u64>, String> {
        Ok(None)
    }
}

impl Telemetry for Host {
    fn called(&mut self, call: &Called<'_>) {
        self.called.push(Answered {
            connection: call.connection,
            method: call.method,
            request: call.request.to_owned(),
            events: call.events,
            refused: call.refused,
            parent: call.parent.cloned(),
        });
    }

    fn subscribed(&mut self, subscriptions: Subscriptions) {
        self.standing.push(subscriptions);
    }

    fn ahead(&mut self) {
        self.ahead += 1;
    }
}

impl Diagnostics for Host {
    fn log(&mut self, _: Level, message: &str) {
        self.lines.push(message.to_owned());
    }
}

impl System for Host {
    fn now(&mut self) -> SystemTime {
        self.now
    }

    fn random(&mut self, bytes: &mut [u8]) {
        bytes.fill(7);
    }

    fn env(&mut self, name: &str) -> Option<String> {
        self.env.get(name).cloned()
    }
}
