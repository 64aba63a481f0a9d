//! A local server that speaks OpenAI's protocol: the upstream of the LLM proxy
//! under test. What it answers is scripted by the message that it is asked, so
//! that tests share it; and it records what it was sent.

mod reply;
mod tls;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;

pub use self::reply::{Head, Piece, Reply, event};
pub use self::tls::Identity;

/// How long what is waited for may take before the test fails.
const PATIENCE: Duration = Duration::from_secs(90);

/// What every marker begins with.
const MARKER: &str = "script-";

/// How much is written at once of an answer that is only long.
const FILL_BYTES: usize = 64 * 1024;

/// The server.
pub struct Upstream {
    scheme: &'static str,
    address: SocketAddr,
    trap: SocketAddr,
    shared: Arc<Shared>,
    // Dropped last: it ends all connections.
    _runtime: Runtime,
}

#[derive(Default)]
struct Shared {
    scripts: Mutex<BTreeMap<u64, Arc<Scripted>>>,
    strays: Mutex<Vec<Call>>,
    trapped: Mutex<Vec<Call>>,
}

/// A request, as it came.
#[derive(Debug, Clone)]
pub struct Call {
    /// `POST`.
    pub method: String,
    /// Its path and query.
    pub target: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, `null` if it is no JSON.
    pub body: Value,
}

impl Call {
    /// A header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let (_, value) = headers.find(|(it, _)| it == name)?;
        Some(value)
    }
}

/// A script, as the test holds it. Its calls are those whose body has its
/// marker.
pub struct Script {
    /// To be part of the message that is asked.
    pub marker: String,
    scripted: Arc<Scripted>,
}

struct Scripted {
    replies: Vec<Reply>,
    progress: Mutex<Progress>,
    changed: Condvar,
    /// One for each hold that is over.
    released: Semaphore,
}

/// What has happened of a script.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    /// The calls, in order.
    pub calls: Vec<Call>,
    /// How often an answer came to a hold.
    pub holds: usize,
    /// How many clients have gone before their answer was complete.
    pub gone: usize,
    /// How many answers were complete.
    pub complete: usize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Upstream {
    /// Starts it, and beside it a trap: a server that nobody may call.
    ///
    /// # Errors
    /// When there is no port for it.
    pub fn start() -> Result<Self> {
        Self::start_as(None)
    }

    /// The same as this identity, in TLS.
    ///
    /// # Errors
    /// When there is no port for it.
    pub fn start_in_tls(identity: Identity) -> Result<Self> {
        Self::start_as(Some(identity))
    }

    fn start_as(identity: Option<Identity>) -> Result<Self> {
        let scheme = if identity.is_some() { "https" } else { "http" };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let shared = Arc::new(Shared::default());
        let (listener, trap) = runtime.block_on(async {
            let listen = || TcpListener::bind("127.0.0.1:0");
            anyhow::Ok((listen().await?, listen().await?))
        })?;
        let (address, trap_address) = (listener.local_addr()?, trap.local_addr()?);
        let to = Arc::clone(&shared);
        runtime.spawn(accept(listener, identity, move |request| {
            let shared = Arc::clone(&to);
            async move { shared.answer(request).await }
        }));
        let to = Arc::clone(&shared);
        runtime.spawn(accept(trap, None, move |request| {
            let shared = Arc::clone(&to);
            async move {
                let call = read(request).await?;
                lock(&shared.trapped).push(call);
                let reply = Reply::completion("you are in the wrong place", 1);
                Ok(answer_with(reply, None))
            }
        }));
        Ok(Self {
            scheme,
            address,
            trap: trap_address,
            shared,
            _runtime: runtime,
        })
    }

    /// Its base URL, for `LLM_BASE_URL`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}://{}/v1", self.scheme, self.address)
    }

    /// The URL of the server that nobody may call.
    #[must_use]
    pub fn trap_url(&self) -> String {
        format!("http://{}", self.trap)
    }

    /// What that server was sent nevertheless.
    #[must_use]
    pub fn trapped(&self) -> Vec<Call> {
        lock(&self.shared.trapped).clone()
    }

    /// What the upstream was sent that no script is for, or not where chat
    /// completions are.
    #[must_use]
    pub fn strays(&self) -> Vec<Call> {
        lock(&self.shared.strays).clone()
    }

    /// Answers the calls that have the script's marker with these, one after
    /// the other; the last again and again.
    ///
    /// # Panics
    /// When there are none.
    #[must_use]
    pub fn script(&self, replies: impl Into<Vec<Reply>>) -> Script {
        let replies = replies.into();
        assert!(!replies.is_empty(), "a script answers something");
        let scripted = Arc::new(Scripted {
            replies,
            progress: Mutex::default(),
            changed: Condvar::new(),
            released: Semaphore::new(0),
        });
        let mut scripts = lock(&self.shared.scripts);
        let number = scripts.len() as u64;
        scripts.insert(number, Arc::clone(&scripted));
        Script {
            // Ends in what is no digit: none begins like another.
            marker: format!("{MARKER}{number}."),
            scripted,
        }
    }
}

impl Script {
    /// What has happened by now.
    #[must_use]
    pub fn progress(&self) -> Progress {
        lock(&self.scripted.progress).clone()
    }

    /// The calls by now.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.progress().calls
    }

    /// The one call that there was.
    ///
    /// # Panics
    /// When there was none, or more.
    #[must_use]
    pub fn call(&self) -> Call {
        let mut calls = self.calls();
        assert_eq!(calls.len(), 1, "one call is due: {calls:?}");
        calls.remove(0)
    }

    /// Ends one hold, of now or of later.
    pub fn release(&self) {
        self.scripted.released.add_permits(1);
    }

    /// Waits until it has come so far.
    ///
    /// # Panics
    /// When it does not.
    pub fn wait_until(&self, what: &str, is_so: impl Fn(&Progress) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        let mut progress = lock(&self.scripted.progress);
        while !is_so(&progress) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{what} was waited for: {progress:?}");
            let waited = self.scripted.changed.wait_timeout(progress, left);
            progress = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until so many clients have gone before their answer was complete.
    pub fn wait_until_gone(&self, clients: usize) {
        self.wait_until("a hang-up", |progress| progress.gone >= clients);
    }

    /// Waits until answers have come to so many holds.
    pub fn wait_until_held(&self, holds: usize) {
        self.wait_until("a hold", |progress| progress.holds >= holds);
    }
}

impl Scripted {
    fn note(&self, change: impl FnOnce(&mut Progress)) {
        change(&mut lock(&self.progress));
        self.changed.notify_all();
    }

    async fn hold(&self) {
        self.note(|progress| progress.holds += 1);
        if let Ok(permit) = self.released.acquire().await {
            permit.forget();
        }
    }
}

/// Notices that the client has gone: it is dropped before the answer's end.
struct Watch {
    scripted: Arc<Scripted>,
    is_over: bool,
}

impl Drop for Watch {
    fn drop(&mut self) {
        if !self.is_over {
            self.scripted.note(|progress| progress.gone += 1);
        }
    }
}

type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, std::io::Error>;

impl Shared {
    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Body>> {
        let call = read(request).await?;
        let scripted = self.script_of(&call);
        let Some(scripted) = scripted.filter(|_| call.target == "/v1/chat/completions") else {
            lock(&self.strays).push(call);
            return Ok(answer_with(Reply::completion("unscripted", 1), None));
        };
        let mut number = 0;
        scripted.note(|progress| {
            number = progress.calls.len();
            progress.calls.push(call);
        });
        let last = scripted.replies.len() - 1;
        let reply = scripted.replies[number.min(last)].clone();
        let mut watch = Watch {
            scripted: Arc::clone(&scripted),
            is_over: false,
        };
        match reply.head {
            Head::Now => {}
            Head::Held => scripted.hold().await,
            Head::Never => {
                watch.is_over = true;
                anyhow::bail!("the connection breaks");
            }
        }
        Ok(answer_with(reply, Some(watch)))
    }

    fn script_of(&self, call: &Call) -> Option<Arc<Scripted>> {
        let text = call.body.to_string();
        let (_, rest) = text.split_once(MARKER)?;
        let (number, _) = rest.split_once('.')?;
        lock(&self.scripts).get(&number.parse().ok()?).cloned()
    }
}

async fn accept<F, A>(listener: TcpListener, identity: Option<Identity>, answer: F)
where
    F: Fn(Request<Incoming>) -> A + Clone + Send + 'static,
    A: Future<Output = Result<Response<Body>>> + Send + 'static,
{
    let identity = Arc::new(identity);
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        let (identity, answer) = (Arc::clone(&identity), answer.clone());
        // Ends with the client, or where an answer breaks off.
        tokio::spawn(async move {
            let Ok(stream) = tls::accepted(stream, identity.as_ref().as_ref()).await else {
                return;
            };
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service_fn(answer))
                .await;
        });
    }
}

async fn read(request: Request<Incoming>) -> Result<Call> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let headers = head.headers.iter().map(|(name, value)| {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        (name.as_str().to_owned(), value)
    });
    Ok(Call {
        method: head.method.to_string(),
        target: head.uri.to_string(),
        headers: headers.collect(),
        body: serde_json::from_slice(&body).unwrap_or_default(),
    })
}

fn answer_with(reply: Reply, watch: Option<Watch>) -> Response<Body> {
    let mut response = Response::builder().status(reply.status);
    for (name, value) in &reply.headers {
        response = response.header(name, value);
    }
    let pieces = reply.body.into_iter();
    let body = stream::unfold(
        (pieces, 0, watch),
        |(mut pieces, mut fill, mut watch)| async move {
            loop {
                if fill > 0 {
                    let bytes = FILL_BYTES.min(fill);
                    let frame = Frame::data(Bytes::from(vec![b'a'; bytes]));
                    return Some((Ok(frame), (pieces, fill - bytes, watch)));
                }
                match pieces.next() {
                    None => {
                        if let Some(mut watch) = watch {
                            watch.is_over = true;
                            watch.scripted.note(|progress| progress.complete += 1);
                        }
                        return None;
                    }
                    Some(Piece::Bytes(bytes)) => {
                        return Some((Ok(Frame::data(bytes)), (pieces, fill, watch)));
                    }
                    Some(Piece::Fill(bytes)) => fill = bytes,
                    Some(Piece::Hold) => {
                        if let Some(watch) = &watch {
                            watch.scripted.hold().await;
                        }
                    }
                    Some(Piece::Break) => {
                        // What came before is sent first.
                        tokio::task::yield_now().await;
                        if let Some(watch) = &mut watch {
                            watch.is_over = true;
                        }
                        let error = std::io::Error::other("the answer breaks off");
                        return Some((Err(error), (pieces, fill, watch)));
                    }
                }
            }
        },
    );
    response
        .body(BodyExt::boxed_unsync(StreamBody::new(body)))
        .expect("a valid answer")
}
