//! The guest's limits, each with its reason. Sizes are bytes of UTF-8.

/// A Chunk's frame. Upstream keeps below what hibernated Durable Object
/// sockets were seen to deliver (`@livestore/sync-cf` 0.4.0,
/// `src/common/constants.ts`, `MAX_TRANSPORT_PAYLOAD_BYTES`). A single event
/// beyond it travels in a Chunk of its own.
pub const CHUNK_BYTES_MAX: usize = 900_000;

/// Events in a Chunk (`MAX_PULL_EVENTS_PER_MESSAGE`, same file).
pub const CHUNK_EVENTS_MAX: usize = 100;

/// The same of a Chunk that tells a client what it was not told for a while
/// (`room/telling.rs`). Each Chunk is a rebase, and each rebase is a risk; its
/// bytes are bounded all the same, and a client takes what it is sent
/// (`@livestore/sync-cf` 0.4.0, `src/common/sync-message-types.ts`).
pub const JOINED_EVENTS_MAX: usize = 1_000;

/// What a Chunk's frame holds beside its events: tags, request id, page info
/// and backend id. Kept free when events are packed.
pub const CHUNK_ENVELOPE_BYTES: usize = 512;

/// A stored event: name, args, ids, time and numbers. Cloudflare's row limit
/// is 2 MB; read as 2,000,000, the smaller of the two readings.
pub const EVENT_BYTES_MAX: usize = 2_000_000;

/// What [`EVENT_BYTES_MAX`] sets aside for the columns that are not the
/// client's text: two integers and the time.
pub const EVENT_OVERHEAD_BYTES: usize = 64;

/// An event's name. Real ones have some dozens of bytes. Rows are read back in
/// full but for their `args` (`storage/d1.ts`): what stands beside those has to
/// be small.
pub const NAME_BYTES_MAX: usize = 8 * 1024;

/// An event's `clientId` and its `sessionId`, for the same reason. Real ones
/// are nanoids of 21 characters or a word.
pub const AUTHOR_ID_BYTES_MAX: usize = 1_024;

/// Events in one push. Real clients send at most 100; this bounds how long
/// one turn may keep a room (and a D1 batch: 14 rows a statement, 1,000
/// statements).
pub const PUSH_EVENTS_MAX: usize = 10_000;

/// The largest sequence number: JavaScript clients hold it in a double.
pub const SEQ_NUM_MAX: u64 = (1 << 53) - 1;

/// Unacknowledged Chunks of a pull that is catching up. More than one, so
/// that a round trip does not cost a page; few, so that a pull costs little.
pub const WINDOW_CHUNKS_MAX: usize = 8;

/// Unacknowledged Chunks of a live pull, before it falls back to catching up.
/// Falling back costs an attachment, and so does turning live again: on
/// workerd, where Acks may wait behind hundreds of pushes, fan-out was half as
/// fast with 8 as with this.
pub const WINDOW_LIVE_CHUNKS_MAX: usize = 1_024;

/// Events at the end of the log that a room keeps encoded, in bytes, with
/// what each costs beside its text. Enough for subscribers that are a few
/// round trips behind.
pub const RECENT_BYTES_MAX: usize = 256 * 1024;

/// What a kept event costs beside its text, in bytes.
pub const RECENT_OVERHEAD_BYTES: usize = 64;

/// Unacknowledged bytes of a pull, live or not. A Chunk that is larger is
/// sent when nothing is in flight.
pub const WINDOW_BYTES_MAX: usize = 1_000_000;

/// Pulls of one connection. Real clients have one. What they all have in
/// flight has to fit the host's outbox, and what they are the attachment.
pub const PULLS_MAX: usize = 8;

/// Requests in one call by another Durable Object. Real clients send one.
pub const CALL_MESSAGES_MAX: usize = 100;

/// Digits of a request id. Clients count them up from 0 as a BigInt.
pub const REQUEST_ID_BYTES_MAX: usize = 32;

/// A 0.3 request id: clients send a nanoid of 21 characters.
pub const REQUEST_ID_V3_BYTES_MAX: usize = 128;

/// A store's id. Durable Object names and file names have to hold it.
pub const STORE_ID_BYTES_MAX: usize = 512;

/// A user id in a token: part of the principal, which every attachment holds.
pub const USER_ID_BYTES_MAX: usize = 1_024;

/// A role in a token, for the same reason.
pub const ROLE_BYTES_MAX: usize = 128;

/// The principal as `wit/gateway.wit` promises it.
pub const PRINCIPAL_BYTES_MAX: usize = 2_048;

/// A backend id in a message. Ours and upstream's have 21 characters.
pub const BACKEND_ID_BYTES_MAX: usize = 256;

/// Workspace claims above this are warned about: browsers and proxies limit
/// URLs and headers.
pub const WORKSPACE_CLAIMS_WARN_BYTES: usize = 3_000;

/// Requests a second of a connection, unless `CONNECTION_REQUESTS_PER_SECOND`
/// says otherwise. Real clients have one push under way, of up to 100 events:
/// they stay far below.
pub const CONNECTION_REQUESTS_PER_SECOND: u32 = 1_000;

/// The same of a user in a room (`PRINCIPAL_REQUESTS_PER_SECOND`): some tabs
/// and devices.
pub const PRINCIPAL_REQUESTS_PER_SECOND: u32 = 2_000;

/// Requests a second; `None` is any number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    /// Of one connection.
    pub connection: Option<u32>,
    /// Of one user in a room, over all connections and over HTTP.
    pub principal: Option<u32>,
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            connection: Some(CONNECTION_REQUESTS_PER_SECOND),
            principal: Some(PRINCIPAL_REQUESTS_PER_SECOND),
        }
    }
}

/// What was not asked for is kept for so many seconds: clients that come back
/// have more to say at once.
pub const BURST_SECONDS: u32 = 2;

/// Bytes of a message or body that count as one request more: reading them
/// takes about as long as a small request does.
pub const REQUEST_BYTES: usize = 64 * 1024;

/// Users whose requests a room counts.
pub const PRINCIPALS_MAX: usize = 1_000;

/// How long a client is told to wait before it tries again after a fault.
pub const RETRY_AFTER_MS: u64 = 1_000;

// What hosts keep for the guest (`wit/gateway.wit`, `bounds`).

/// A connection's attachment. Cloudflare keeps 16,384 bytes of a hibernating
/// socket, its own framing among them.
pub const ATTACHMENT_BYTES_MAX: u32 = 16_000;

/// A close's reason. RFC 6455: a close frame's payload is 125 bytes, two of
/// them the code.
pub const REASON_BYTES_MAX: u32 = 123;

/// Events that one read of the log returns: some Chunks.
pub const READ_EVENTS_MAX: u32 = 1_000;

/// The text of these, beyond the first: what a turn may take of an isolate's
/// 128 MB, several times over.
pub const READ_BYTES_MAX: u32 = 4 * 1024 * 1024;

/// What is read of a refused request's body: enough for any real client's, to
/// name its request id in the answer.
pub const REFUSED_BODY_BYTES_MAX: u32 = 4 * 1024 * 1024;
