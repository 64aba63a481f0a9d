//! An HTTP exchange, piece by piece: bodies are sent and read as they go, and
//! either can be left in the middle. `http.rs` is for those that are whole.

use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http1;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// How long each step may take before the test fails.
const PATIENCE: Duration = Duration::from_secs(90);

/// Where clients run.
fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime")
    })
}

fn wait<T>(what: &str, future: impl Future<Output = T>) -> T {
    runtime().block_on(async {
        let timeout = tokio::time::timeout(PATIENCE, future).await;
        timeout.unwrap_or_else(|_| panic!("{what} did not come"))
    })
}

/// A request, but for its body.
#[derive(Debug, Clone)]
pub struct Ask {
    method: String,
    path_and_query: String,
    headers: Vec<(String, String)>,
    resets: bool,
}

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// A header; its values in one if there are several.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        let values = self.headers.iter().filter(|(it, _)| it == name);
        let values: Vec<_> = values.map(|(_, value)| value.as_str()).collect();
        (!values.is_empty()).then(|| values.join(", "))
    }

    /// Whether it is wrangler's own, which stands between and says so of a
    /// Worker whose connection broke off because it did not read a body to its
    /// end (wrangler 4.86, `ProxyWorker.ts`). Cloudflare has no such proxy.
    #[must_use]
    pub fn is_of_broken_worker(&self) -> bool {
        self.status == 503 && self.body.starts_with(b"Your worker restarted mid-request.")
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("a body that is no JSON ({error}): {self:?}"))
    }
}

impl Ask {
    /// A request.
    #[must_use]
    pub fn new(method: &str, path_and_query: &str) -> Self {
        Self {
            method: method.to_owned(),
            path_and_query: path_and_query.to_owned(),
            headers: Vec::new(),
            resets: false,
        }
    }

    /// Whoever hangs up resets the connection, as a process does that dies
    /// with something unread. Else it is closed, which some servers take for
    /// the end of what is sent, and go on answering.
    #[must_use]
    pub fn resetting(self) -> Self {
        Self {
            resets: true,
            ..self
        }
    }

    /// `GET`.
    #[must_use]
    pub fn get(path_and_query: &str) -> Self {
        Self::new("GET", path_and_query)
    }

    /// With a header more.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With a token, if there is one.
    #[must_use]
    pub fn bearer(self, token: Option<&str>) -> Self {
        match token {
            Some(token) => self.with("authorization", &format!("Bearer {token}")),
            None => self,
        }
    }

    /// Sends it without a body.
    #[must_use]
    pub fn send(&self, url: &str) -> Answer {
        self.send_with(url, Bytes::new())
    }

    /// Sends it with a body.
    #[must_use]
    pub fn send_with(&self, url: &str, body: impl Into<Bytes>) -> Answer {
        self.begin_with(url, body).answer()
    }

    /// Sends it with a body, and reads nothing yet.
    #[must_use]
    pub fn begin_with(&self, url: &str, body: impl Into<Bytes>) -> Exchange {
        let body = Full::new(body.into()).map_err(|never| -> std::io::Error { match never {} });
        Exchange::open(self, url, BodyExt::boxed_unsync(body), None)
    }

    /// Sends its head; the body's pieces follow, of no announced length.
    #[must_use]
    pub fn begin(&self, url: &str) -> Exchange {
        let (pieces, queue) = mpsc::channel::<Bytes>(1);
        let body = stream::unfold(queue, |mut queue| async move {
            let piece = queue.recv().await?;
            Some((Ok(Frame::data(piece)), queue))
        });
        Exchange::open(
            self,
            url,
            BodyExt::boxed_unsync(StreamBody::new(body)),
            Some(pieces),
        )
    }
}

type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// An exchange under way. Whoever drops it hangs up.
pub struct Exchange {
    connection: JoinHandle<()>,
    pieces: Option<mpsc::Sender<Bytes>>,
    response: Option<JoinHandle<hyper::Result<Response<Incoming>>>>,
    body: Option<Incoming>,
    status: u16,
    headers: Vec<(String, String)>,
}

/// How an answer went on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// With these bytes.
    Piece(Bytes),
    /// It is complete.
    End,
    /// It broke off.
    Broken,
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Exchange {
    fn open(ask: &Ask, url: &str, body: Body, pieces: Option<mpsc::Sender<Bytes>>) -> Self {
        let authority = url.trim_start_matches("http://").to_owned();
        let mut request = Request::builder()
            .method(ask.method.as_str())
            .uri(&ask.path_and_query);
        if !ask.headers.iter().any(|(name, _)| name == "host") {
            request = request.header("host", &authority);
        }
        for (name, value) in &ask.headers {
            request = request.header(name, value);
        }
        let request = request.body(body).expect("a valid request");
        let (mut sender, connection) = wait("a connection", async {
            let stream = TcpStream::connect(&authority).await.expect("it listens");
            stream.set_nodelay(true).expect("a socket");
            if ask.resets {
                stream.set_zero_linger().expect("a socket");
            }
            http1::handshake(TokioIo::new(stream))
                .await
                .expect("a connection")
        });
        let connection = runtime().spawn(async move {
            let _ = connection.await;
        });
        let response = runtime().spawn(async move { sender.send_request(request).await });
        Self {
            connection,
            pieces,
            response: Some(response),
            body: None,
            status: 0,
            headers: Vec::new(),
        }
    }

    /// Sends a piece of the body; whether it was still wanted.
    pub fn write(&mut self, piece: impl Into<Bytes>) -> bool {
        let Some(pieces) = &self.pieces else {
            return false;
        };
        let sent = wait("a place for a piece", pieces.send(piece.into()));
        sent.is_ok()
    }

    /// Ends the body.
    pub fn finish(&mut self) {
        self.pieces = None;
    }

    /// The status, as soon as the head is there; `None` if the connection
    /// breaks before.
    pub fn status(&mut self) -> Option<u16> {
        if let Some(response) = self.response.take() {
            let response = wait("an answer", response).expect("no panic");
            let (head, body) = response.ok()?.into_parts();
            self.status = head.status.as_u16();
            let headers = head.headers.iter().map(|(name, value)| {
                let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
                (name.as_str().to_owned(), value)
            });
            self.headers = headers.collect();
            self.body = Some(body);
        }
        (self.status > 0).then_some(self.status)
    }

    /// How the answer goes on.
    pub fn next_piece(&mut self) -> Next {
        self.status();
        let Some(body) = &mut self.body else {
            return Next::Broken;
        };
        loop {
            let frame = wait("a piece of an answer", body.frame());
            match frame {
                None => return Next::End,
                Some(Err(_)) => return Next::Broken,
                Some(Ok(frame)) => {
                    if let Ok(piece) = frame.into_data() {
                        return Next::Piece(piece);
                    }
                }
            }
        }
    }

    /// What comes of the answer until it holds this text.
    ///
    /// # Panics
    /// When it ends before.
    pub fn read_until(&mut self, text: &str) -> String {
        let mut read = Vec::new();
        loop {
            match self.next_piece() {
                Next::Piece(piece) => read.extend_from_slice(&piece),
                end => panic!(
                    "{text} was due, not {end:?}: {}",
                    String::from_utf8_lossy(&read)
                ),
            }
            let so_far = String::from_utf8_lossy(&read);
            if so_far.contains(text) {
                return so_far.into_owned();
            }
        }
    }

    /// The whole answer, or what there was of it, with whether it was whole.
    #[must_use]
    pub fn rest(mut self) -> (Answer, bool) {
        let mut read = Vec::new();
        let is_whole = loop {
            match self.next_piece() {
                Next::Piece(piece) => read.extend_from_slice(&piece),
                Next::End => break true,
                Next::Broken => break false,
            }
        };
        let answer = Answer {
            status: self.status,
            headers: std::mem::take(&mut self.headers),
            body: read.into(),
        };
        (answer, is_whole)
    }

    /// The whole answer.
    ///
    /// # Panics
    /// When it breaks off.
    #[must_use]
    pub fn answer(self) -> Answer {
        let (answer, is_whole) = self.rest();
        assert!(is_whole, "the answer broke off: {answer:?}");
        answer
    }
}
