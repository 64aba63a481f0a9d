//! What the guest asks of its host, as Rust traits: one for each WIT import,
//! and [`System`] for what comes from WASI. The component binds them to the
//! real imports (`component.rs`); tests and simulations bring their own.

use std::time::SystemTime;

use thiserror::Error;

use crate::limits::ATTACHMENT_BYTES_MAX;
use crate::protocol::Trace;

/// A WebSocket of the room or a subscriber, as the host numbers it (`wit/connections.wit`).
pub type ConnectionId = u32;

/// One event of the global log, borrowed from the frame or row it came from
/// (`wit/event-log.wit`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event<'a> {
    /// Position in the store's order, 1 to 2^53 − 1.
    pub seq_num: u64,
    /// The position before it, 0 for the first.
    pub parent_seq_num: u64,
    /// The event's name.
    pub name: &'a str,
    /// The arguments as JSON text, byte for byte; `None` when left out.
    pub args: Option<&'a str>,
    /// The pushing client's id.
    pub client_id: &'a str,
    /// The pushing client's session id.
    pub session_id: &'a str,
}

/// An event as storage returns it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEvent {
    /// Position in the store's order.
    pub seq_num: u64,
    /// The position before it.
    pub parent_seq_num: u64,
    /// The event's name.
    pub name: String,
    /// The arguments as JSON text; `None` when the client left them out.
    pub args: Option<String>,
    /// The pushing client's id.
    pub client_id: String,
    /// The pushing client's session id.
    pub session_id: String,
    /// When it was committed: ISO 8601, UTC, milliseconds.
    pub created_at: String,
}

impl StoredEvent {
    /// The event without its time, borrowed.
    #[must_use]
    pub fn event(&self) -> Event<'_> {
        Event {
            seq_num: self.seq_num,
            parent_seq_num: self.parent_seq_num,
            name: &self.name,
            args: self.args.as_deref(),
            client_id: &self.client_id,
            session_id: &self.session_id,
        }
    }
}

/// What the guest keeps of a log between turns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogInfo {
    /// Sequence number of the last event, 0 when the log is empty.
    pub head: u64,
    /// The id of this incarnation of the log.
    pub backend_id: String,
}

/// Why storage could not do as asked. Nothing was stored.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StorageError {
    /// The log's head is another than expected: this one.
    #[error("the log's head is {0}, another than expected")]
    Conflict(u64),
    /// No space is left, or the store's size limit is reached.
    #[error("storage is full: {0}")]
    Full(String),
    /// An event is larger than a row may be.
    #[error("an event is too large to store: {0}")]
    TooLarge(String),
    /// Anything else that storage reports.
    #[error("storage is unavailable: {0}")]
    Unavailable(String),
}

/// An attachment could not be kept.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AttachError {
    /// More than [`ATTACHMENT_BYTES_MAX`]: its size in bytes.
    #[error("the attachment has {0} bytes; at most {ATTACHMENT_BYTES_MAX} can be kept")]
    TooLarge(u32),
    /// No such connection.
    #[error("the connection is gone")]
    Gone,
}

/// What an object is called with, of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Callback {
    /// The value that the frame is JSON of.
    Value,
    /// MessagePack of that value, as bytes.
    Packed,
}

/// An object could not be subscribed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SubscribeError {
    /// The host has no such binding, or it leads to no objects.
    #[error("no such binding")]
    UnknownBinding,
    /// The id is none of that binding's.
    #[error("no such object")]
    UnknownObject,
    /// This host has no objects.
    #[error("this host has no objects")]
    Unsupported,
}

/// How much a log line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// For whoever debugs the guest.
    Debug,
    /// Normal operation.
    Info,
    /// Worth an operator's look.
    Warn,
    /// Something failed.
    Error,
}

/// The storage import, `wit/event-log.wit`.
pub trait EventLog {
    /// Opens the log, creating what is absent.
    ///
    /// # Errors
    /// What storage reports.
    fn open(&mut self, new_backend_id: &str) -> Result<LogInfo, StorageError>;
    /// Appends the batch whole or not at all.
    ///
    /// # Errors
    /// [`StorageError::Conflict`] when the head is another; what storage reports.
    fn append(
        &mut self,
        expected_head: u64,
        batch: &[Event<'_>],
        created_at: &str,
    ) -> Result<(), StorageError>;
    /// The events after `after`, bounded by number and bytes.
    ///
    /// # Errors
    /// What storage reports.
    fn read(
        &mut self,
        after: u64,
        max_events: u32,
        max_bytes: u32,
    ) -> Result<Vec<StoredEvent>, StorageError>;
    /// Deletes every event and gives the store a new backend id.
    ///
    /// # Errors
    /// What storage reports.
    fn reset(&mut self, new_backend_id: &str) -> Result<(), StorageError>;
}

/// How a frame begins, and whom it is for (`wit/connections.wit`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    /// The connections.
    pub to: Vec<ConnectionId>,
    /// The frame's beginning.
    pub head: String,
}

/// The broadcast import, `wit/connections.wit`.
pub trait Connections {
    /// Sends one frame to each connection named.
    fn send(&mut self, to: &[ConnectionId], frame: &str);
    /// Sends each connection named its opening's head and then `rest`, whose
    /// bytes all of them share.
    fn send_each(&mut self, openings: &[Opening], rest: &str);
    /// Closes a connection after the frames sent before.
    fn close(&mut self, connection: ConnectionId, code: u16, reason: &str);
    /// Replaces what the host keeps for the connection.
    ///
    /// # Errors
    /// When it is too large, or the connection gone.
    fn attach(&mut self, connection: ConnectionId, attachment: &str) -> Result<(), AttachError>;
    /// Every open connection that has an attachment.
    fn attached(&mut self) -> Vec<(ConnectionId, String)>;
    /// A connection to another Durable Object, which is called with its
    /// frames. It outlives the room's memory.
    ///
    /// # Errors
    /// When there is no such object.
    fn subscribe(
        &mut self,
        binding: &str,
        object_id: &str,
        callback: Callback,
    ) -> Result<ConnectionId, SubscribeError>;
    /// Asks for one `drained` turn when the outbox has room.
    fn notify_drained(&mut self, connection: ConnectionId);
}

/// The timer import, `wit/timer.wit`.
pub trait Timer {
    /// Asks for one `wake` turn after so many milliseconds, instead of what
    /// was asked for before.
    fn wake_after(&mut self, ms: u32);
}

/// The claims import, `wit/claims.wit`.
pub trait Claims {
    /// The user's current claims version, `None` without an entry.
    ///
    /// # Errors
    /// A text for the operator's log, when the lookup failed.
    fn current_version(&mut self, user_id: &str) -> Result<Option<u64>, String>;
}

/// Why a quota grants nothing.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum QuotaDenied {
    /// It is used up.
    #[error("it is used up for {retry_after_ms} ms")]
    Exhausted {
        /// When it is worth another try, in milliseconds.
        retry_after_ms: u64,
    },
    /// The counters cannot be read or written.
    #[error("the counters cannot be used: {0}")]
    Unavailable(String),
}

/// The quotas import, `wit/quotas.wit`.
pub trait Quotas {
    /// Takes `amount` while less than `max` is used within a window.
    ///
    /// # Errors
    /// When it is not granted.
    fn take(
        &mut self,
        user: &str,
        counter: &str,
        amount: u64,
        max: u64,
        window_ms: u64,
    ) -> Result<(), QuotaDenied>;
    /// Adds what is known only afterwards.
    ///
    /// # Errors
    /// When the counters cannot be used.
    fn add(
        &mut self,
        user: &str,
        counter: &str,
        amount: u64,
        window_ms: u64,
    ) -> Result<(), QuotaDenied>;
    /// Holds one of `max` places, for `lease_ms` at most; its number.
    ///
    /// # Errors
    /// When none is free.
    fn hold(
        &mut self,
        user: &str,
        counter: &str,
        max: u32,
        lease_ms: u64,
    ) -> Result<u64, QuotaDenied>;
    /// Gives a place back.
    ///
    /// # Errors
    /// When the counters cannot be used.
    fn let_go(&mut self, user: &str, counter: &str, place: u64) -> Result<(), QuotaDenied>;
}

/// What a client asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// A pull.
    Pull,
    /// A push.
    Push,
    /// A ping that is a request.
    Ping,
    /// A 0.3 client's administration.
    Admin,
    /// What is no request that is known.
    Other,
}

/// A request that was answered (`wit/telemetry.wit`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Called<'a> {
    /// The socket; `None` for a request of its own.
    pub connection: Option<ConnectionId>,
    /// What was asked for.
    pub method: Method,
    /// The request's id.
    pub request: &'a str,
    /// How many events were pushed.
    pub events: usize,
    /// Why it was not served, as a code.
    pub refused: Option<&'static str>,
    /// The span that the client made it in.
    pub parent: Option<&'a Trace>,
}

/// How many subscriptions stand where (`wit/telemetry.wit`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Subscriptions {
    /// At the head, and told at once.
    pub live: u32,
    /// Behind it.
    pub catching: u32,
    /// Not told for now.
    pub held: u32,
}

/// The telemetry import, `wit/telemetry.wit`. Asked for nothing where the
/// variable `HOST_TELEMETRY` is not `1`.
pub trait Telemetry {
    /// A request was answered.
    fn called(&mut self, _call: &Called<'_>) {}
    /// Where the room's subscriptions stand now.
    fn subscribed(&mut self, _subscriptions: Subscriptions) {}
    /// A client has seen more than the log holds.
    fn ahead(&mut self) {}
    /// Tokens that a relay used, as far as is known.
    fn tokens_used(&mut self, _tokens: u64) {}
}

/// The diagnostics import, `wit/diagnostics.wit`.
pub trait Diagnostics {
    /// Writes one line.
    fn log(&mut self, level: Level, message: &str);
}

/// Time, randomness and configuration: from WASI in the component.
pub trait System {
    /// The wall clock.
    fn now(&mut self) -> SystemTime;
    /// Fills `bytes` with random bytes fit for identifiers.
    fn random(&mut self, bytes: &mut [u8]);
    /// A configuration variable, `None` when it is unset or empty.
    fn env(&mut self, name: &str) -> Option<String>;
}

/// All that a host offers.
pub trait Imports:
    EventLog + Connections + Timer + Claims + Quotas + Diagnostics + Telemetry + System
{
}

impl<T: EventLog + Connections + Timer + Claims + Quotas + Diagnostics + Telemetry + System> Imports
    for T
{
}
