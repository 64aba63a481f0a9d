//! What clients ask for, in no version's words.

use std::borrow::Cow;

use super::event::WireBatch;
use super::trace::Trace;

/// A frame that could not be understood, in words for its sender.
pub type DecodeError = String;

/// A frame, read: an error if no request id can be read that an answer could
/// name.
pub type Decoded<'a> = Result<Message<'a>, DecodeError>;

/// A request's id, as its client counts.
pub type RequestId = String;

/// A message from a client.
#[derive(Debug)]
pub enum Message<'a> {
    /// Keep-alive. Its id is empty where it has none.
    Ping(RequestId),
    /// A Chunk was taken.
    Ack(RequestId),
    /// A request is given up.
    Interrupt(RequestId),
    /// The client sends no more. Sockets close by themselves.
    Eof,
    /// A call.
    Request(RequestId, Result<Call<'a>, CallError>),
}

/// A call.
#[derive(Debug)]
pub enum Call<'a> {
    /// Events are asked for.
    Pull(Pull<'a>),
    /// Events are brought.
    Push(Push<'a>),
    /// Whether the server is there, as a request.
    Ping(Ping<'a>),
    /// Administration: which room this is. With the secret given.
    AdminInfo(Cow<'a, str>),
    /// Administration: the log is to be emptied. With the secret given.
    AdminReset(Cow<'a, str>),
}

/// A call that cannot be served; its id is known.
#[derive(Debug, PartialEq, Eq)]
pub enum CallError {
    /// No such procedure here.
    UnknownRpc(String),
    /// The payload does not fit the procedure's schema.
    Undecodable(DecodeError),
}

/// A pull.
#[derive(Debug)]
pub struct Pull<'a> {
    /// The store meant, if the client says.
    pub store_id: Option<Cow<'a, str>>,
    /// Whether to go on with what is pushed later. Over HTTP it never does.
    pub live: bool,
    /// Where the client is; `None` starts from the beginning.
    pub cursor: Option<Cursor>,
    /// Who is to be called with what is pushed later. Over sockets nobody is.
    pub caller: Option<Caller<'a>>,
    /// The span that the client makes it in.
    pub trace: Option<Box<Trace>>,
}

/// Where a client is in which log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// The log's incarnation, as far as the client knows of such.
    pub backend_id: Option<String>,
    /// The last event that it has.
    pub after: u64,
}

/// A Durable Object that can be called back.
#[derive(Debug)]
pub struct Caller<'a> {
    /// The binding through which it is reached.
    pub binding: Cow<'a, str>,
    /// Its id: 64 hexadecimal digits.
    pub object_id: Cow<'a, str>,
}

/// A push.
#[derive(Debug)]
pub struct Push<'a> {
    /// The store meant, if the client says.
    pub store_id: Option<Cow<'a, str>>,
    /// The events, in order.
    pub batch: WireBatch<'a>,
    /// The log's incarnation, as far as the client knows it.
    pub backend_id: Option<String>,
    /// The span that the client makes it in.
    pub trace: Option<Box<Trace>>,
}

/// A Ping that is a request.
#[derive(Debug)]
pub struct Ping<'a> {
    /// The store meant.
    pub store_id: Cow<'a, str>,
}
