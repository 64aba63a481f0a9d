//! A client that behaves on the wire as LiveStore's own 0.4.0 does, and costs
//! little: frames are decoded only as far as an answer is checked. It checks
//! what it counts (every event once, in order, every push a success), so that
//! a server cannot be fast by being wrong.
//!
//! What it leaves out is the client's ping every 10 s: none of what is
//! measured depends on it.

use std::fmt::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use futures_util::{FutureExt, SinkExt, StreamExt};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

/// How long any one answer may take. It only turns a hang into an error.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// How much of a frame an error shows.
const QUOTED_CHARS: usize = 300;

/// What a client reads at once, and holds all its life. tungstenite clears
/// all of it for each read.
#[derive(Debug, Clone, Copy)]
pub enum Buffer {
    /// For one of thousands of clients, and for little to read.
    Small,
    /// For much to read.
    Large,
}

impl Buffer {
    fn bytes(self) -> usize {
        match self {
            Self::Small => 4 * 1024,
            Self::Large => 128 * 1024,
        }
    }
}

/// Where a log ends.
#[derive(Debug, Clone)]
pub struct LogEnd {
    /// Its last event.
    pub head: u64,
    backend_id: Option<String>,
}

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    authority: String,
    path: String,
}

impl Address {
    /// Of a URL without TLS and query.
    ///
    /// # Errors
    /// When it is something else.
    pub fn parse(url: &str) -> Result<Self> {
        let rest = ["http://", "ws://"]
            .iter()
            .find_map(|scheme| url.strip_prefix(scheme))
            .with_context(|| format!("`{url}` does not begin with http:// or ws://"))?;
        ensure!(
            !rest.contains(['?', '#']),
            "`{url}` has a query or a fragment: the bench adds its own"
        );
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        ensure!(!authority.is_empty(), "`{url}` names no host");
        let has_port = authority
            .rsplit_once(':')
            .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        Ok(Self {
            authority: if has_port {
                authority.to_owned()
            } else {
                format!("{authority}:80")
            },
            path: path.to_owned(),
        })
    }
}

/// What a frame said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// Events of the pull: those after the first number up to the second.
    Chunk {
        /// The last event before them.
        after: u64,
        /// The last of them.
        up_to: u64,
        /// When the frame had been read.
        at: Instant,
        /// Whether the server says that this is all there is.
        is_last: bool,
    },
    /// The success of the request with this id.
    Success(u64),
}

/// A client on one socket, with one live pull.
pub struct Client {
    socket: WebSocketStream<TcpStream>,
    store: String,
    next_id: u64,
    /// Whether it spells ids as LiveStore's main branch does, as numbers.
    is_next: bool,
    /// The pull's Ack, always the same.
    ack: Utf8Bytes,
    /// The last event that the pull has delivered.
    position: u64,
    /// The last event that was pushed.
    head: u64,
    backend_id: Option<String>,
    /// What is added to each event's `args`.
    padding: String,
}

impl Client {
    /// Connects to a store.
    ///
    /// # Errors
    /// When the server does not take the connection.
    pub async fn open(address: &Address, store: &str, buffer: Buffer) -> Result<Self> {
        let Address { authority, path } = address;
        let tcp = TcpStream::connect(authority)
            .await
            .with_context(|| format!("cannot connect to {authority}"))?;
        tcp.set_nodelay(true)?;
        let url = format!("ws://{authority}{path}?storeId={store}&transport=ws");
        let config = WebSocketConfig::default()
            .read_buffer_size(buffer.bytes())
            .max_message_size(None)
            .max_frame_size(None);
        let handshake = tokio_tungstenite::client_async_with_config(&url, tcp, Some(config));
        let (socket, _) = tokio::time::timeout(ANSWER_TIMEOUT, handshake)
            .await
            .with_context(|| format!("{url} does not answer"))?
            .with_context(|| format!("{url} refuses the connection"))?;
        Ok(Self {
            socket,
            store: store.to_owned(),
            next_id: 0,
            is_next: false,
            ack: Utf8Bytes::default(),
            position: 0,
            head: 0,
            backend_id: None,
            padding: String::new(),
        })
    }

    /// The same, as a client of LiveStore's main branch.
    #[must_use]
    pub fn of_next(self, is_next: bool) -> Self {
        Self { is_next, ..self }
    }

    /// Goes on where a log ends, as a client that has all of it.
    pub fn resume(&mut self, end: &LogEnd) {
        self.position = end.head;
        self.head = end.head;
        self.backend_id = end.backend_id.clone();
    }

    /// Where the log ends, as far as this client has pushed.
    pub fn log_end(&self) -> LogEnd {
        LogEnd {
            head: self.head,
            backend_id: self.backend_id.clone(),
        }
    }

    /// The last event that the pull has delivered.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Makes the `args` of the events that it pushes larger by so much.
    pub fn pad_events(&mut self, bytes: usize) {
        self.padding = "x".repeat(bytes);
    }

    /// Starts the live pull, from where the client is.
    ///
    /// # Errors
    /// When the socket fails.
    pub async fn start_pull(&mut self) -> Result<()> {
        let id = self.id();
        let cursor = match &self.backend_id {
            Some(backend_id) if self.position > 0 => format!(
                r#"{{"_tag":"Some","value":{{"backendId":"{backend_id}","eventSequenceNumber":{}}}}}"#,
                self.position
            ),
            _ => r#"{"_tag":"None"}"#.to_owned(),
        };
        let payload = format!(
            r#"{{"storeId":"{}","live":true,"cursor":{cursor}}}"#,
            self.store
        );
        let quote = self.quote();
        self.ack = format!(r#"{{"_tag":"Ack","requestId":{quote}{id}{quote}}}"#).into();
        self.request(id, "SyncWsRpc.Pull", &payload).await
    }

    /// Connects, and pulls until the end of the log: the client is live then.
    ///
    /// # Errors
    /// When the server fails.
    pub async fn open_live(address: &Address, store: &str, buffer: Buffer) -> Result<Self> {
        Self::open(address, store, buffer).await?.live().await
    }

    /// Pulls until the end of the log: the client is live then.
    ///
    /// # Errors
    /// When the server fails.
    pub async fn live(mut self) -> Result<Self> {
        self.pull_to_end().await?;
        Ok(self)
    }

    /// Starts the live pull, and reads until the end of the log.
    ///
    /// # Errors
    /// When the server fails.
    pub async fn pull_to_end(&mut self) -> Result<()> {
        self.start_pull().await?;
        while !matches!(self.receive().await?, Received::Chunk { is_last: true, .. }) {}
        self.head = self.position;
        Ok(self.socket.flush().await?)
    }

    /// Sends a push of so many events; its id, and when it was sent.
    ///
    /// # Errors
    /// When the socket fails.
    pub async fn send_push(&mut self, events: u64) -> Result<(u64, Instant)> {
        let id = self.id();
        let backend_id = match &self.backend_id {
            Some(backend_id) => format!(r#"{{"_tag":"Some","value":"{backend_id}"}}"#),
            None => r#"{"_tag":"None"}"#.to_owned(),
        };
        let mut payload = format!(r#"{{"storeId":"{}","batch":["#, self.store);
        for number in self.head + 1..=self.head + events {
            if number > self.head + 1 {
                payload.push(',');
            }
            write_event(&mut payload, number, &self.padding)?;
        }
        write!(payload, r#"],"backendId":{backend_id}}}"#)?;
        self.head += events;
        let sent = Instant::now();
        self.request(id, "SyncWsRpc.Push", &payload).await?;
        Ok((id, sent))
    }

    /// Reads until this push has succeeded.
    ///
    /// # Errors
    /// When the server fails.
    pub async fn wait_for_success(&mut self, id: u64) -> Result<()> {
        while self.receive().await? != Received::Success(id) {}
        Ok(())
    }

    /// Pushes so many events and waits for the success; how long it took.
    ///
    /// # Errors
    /// When the server fails.
    pub async fn push(&mut self, events: u64) -> Result<Duration> {
        let (id, sent) = self.send_push(events).await?;
        self.wait_for_success(id).await?;
        Ok(sent.elapsed())
    }

    /// The next frame; a Chunk is acknowledged, with others that came with it.
    ///
    /// # Errors
    /// When the server fails.
    pub async fn receive(&mut self) -> Result<Received> {
        let (text, at) = loop {
            match self.next_message().await? {
                Message::Text(text) => break (text, Instant::now()),
                Message::Close(frame) => bail!("the server closed the socket: {frame:?}"),
                _ => {}
            }
        };
        let frame: Frame = serde_json::from_str(&text)
            .with_context(|| format!("not a frame of the 0.4 protocol: {}", quoted(&text)))?;
        match (frame.tag, frame.exit) {
            ("Chunk", _) => {
                let after = self.position;
                let is_last = self.take(frame.values)?;
                self.socket.feed(Message::Text(self.ack.clone())).await?;
                Ok(Received::Chunk {
                    after,
                    up_to: self.position,
                    at,
                    is_last,
                })
            }
            ("Exit", Some(Tagged { tag: "Success" })) => frame
                .request_id
                .and_then(|id| id.get().trim_matches('"').parse().ok())
                .map(Received::Success)
                .with_context(|| format!("an Exit of no request: {}", quoted(&text))),
            _ => bail!("a Chunk or a success was due: {}", quoted(&text)),
        }
    }

    /// The next message. Acks leave before one is waited for.
    async fn next_message(&mut self) -> Result<Message> {
        let message = match self.socket.next().now_or_never() {
            Some(message) => message,
            None => {
                self.socket.flush().await?;
                tokio::time::timeout(ANSWER_TIMEOUT, self.socket.next())
                    .await
                    .with_context(|| format!("no answer in {ANSWER_TIMEOUT:?}"))?
            }
        };
        Ok(message.context("the server is gone without a close")??)
    }

    /// Takes in a Chunk; whether the server says that it is the last.
    fn take(&mut self, pages: Vec<Page>) -> Result<bool> {
        let mut is_last = false;
        for page in pages {
            for Item { event } in page.batch {
                ensure!(
                    event.number == self.position + 1,
                    "event {} came after event {}",
                    event.number,
                    self.position
                );
                self.position = event.number;
            }
            is_last = page.info.tag == "NoMore";
            if self.backend_id.is_none() {
                self.backend_id = Some(page.backend_id.to_owned());
            }
        }
        Ok(is_last)
    }

    /// Closes the socket, without waiting for the answer, which the original
    /// server does not give.
    pub async fn close(mut self) {
        // One that is gone already is closed.
        let _ = self.socket.close(None).await;
    }

    async fn request(&mut self, id: u64, tag: &str, payload: &str) -> Result<()> {
        // Key order and the ids' lengths are the real client's.
        let frame = format!(
            concat!(
                r#"{{"_tag":"Request","id":{quote}{id}{quote},"tag":"{tag}","payload":{payload},"#,
                r#""traceId":"livestore-noop-trace-id{id:0>25}","#,
                r#""spanId":"livestore-noop-span-id{id:0>25}","sampled":false,"headers":[]}}"#
            ),
            quote = self.quote(),
            id = id,
            tag = tag,
            payload = payload,
        );
        Ok(self.socket.send(Message::text(frame)).await?)
    }

    /// What stands around an id.
    fn quote(&self) -> &'static str {
        if self.is_next { "" } else { "\"" }
    }

    fn id(&mut self) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        id
    }
}

/// An event with about 100 bytes of `args`, as a todo app has them.
fn write_event(out: &mut String, number: u64, padding: &str) -> Result<()> {
    let parent = number - 1;
    write!(
        out,
        concat!(
            r#"{{"name":"v1.TodoCreated","args":{{"id":"{number:08x}-5b1c-4c7e-9d0a-{number:012x}","#,
            r#""title":"buy oat milk and bread, {number:06}{padding}","completed":false}},"#,
            r#""seqNum":{number},"parentSeqNum":{parent},"clientId":"client-a","sessionId":"static"}}"#
        ),
        number = number,
        padding = padding,
        parent = parent,
    )?;
    Ok(())
}

fn quoted(text: &str) -> String {
    text.chars().take(QUOTED_CHARS).collect()
}

// One flat struct and no tagged enum: serde would collect a whole frame before
// it looks at the tag. And borrowed text: none of it is ever escaped.
#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(rename = "_tag")]
    tag: &'a str,
    /// A string, or a number.
    #[serde(borrow, rename = "requestId")]
    request_id: Option<&'a RawValue>,
    #[serde(borrow)]
    exit: Option<Tagged<'a>>,
    #[serde(borrow, default)]
    values: Vec<Page<'a>>,
}

#[derive(Deserialize)]
struct Tagged<'a> {
    #[serde(rename = "_tag")]
    tag: &'a str,
}

#[derive(Deserialize)]
struct Page<'a> {
    batch: Vec<Item>,
    #[serde(borrow, rename = "pageInfo")]
    info: Tagged<'a>,
    #[serde(rename = "backendId")]
    backend_id: &'a str,
}

#[derive(Deserialize)]
struct Item {
    #[serde(rename = "eventEncoded")]
    event: Event,
}

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "seqNum")]
    number: u64,
}
