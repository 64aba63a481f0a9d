//! A local stand-in for S3: one bucket, in memory. It takes what is signed
//! with its key (SigV4) and nothing else, can be told to fail, and knows what
//! it was asked.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use bytes::Bytes;
use hmac_sha256::{HMAC, Hash};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::http::request::Parts;
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

/// The bucket's name.
pub const BUCKET: &str = "pictures";

const REGION: &str = "local-1";
const KEY_ID: &str = "AKIDTESTS";

/// The key that requests are signed with: what no client may see, and no log.
pub const SECRET_KEY: &str = "s3-canary-0d6f2b9a41c87e35";

/// The server.
pub struct Bucket {
    address: SocketAddr,
    shared: Arc<Shared>,
    // Dropped last: it ends all connections.
    _runtime: Runtime,
}

#[derive(Default)]
struct Shared(Mutex<State>);

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Object>,
    asked: Vec<String>,
    unsigned: usize,
    traced: usize,
    fails: bool,
}

#[derive(Clone)]
struct Object {
    content: Bytes,
    /// Its content type, and what is known of it.
    headers: Vec<(String, String)>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bucket {
    /// Starts it, empty.
    ///
    /// # Errors
    /// When there is no port for it.
    pub fn start() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let to = Arc::clone(&shared);
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = Arc::clone(&to);
                let answer = service_fn(move |request| answer(Arc::clone(&shared), request));
                let serve = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), answer);
                tokio::spawn(serve);
            }
        });
        Ok(Self {
            address,
            shared,
            _runtime: runtime,
        })
    }

    /// The variables that a client finds and may use it by.
    #[must_use]
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        vec![
            ("AWS_ENDPOINT", format!("http://{}", self.address)),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
            ("AWS_REGION", REGION.to_owned()),
            ("AWS_ACCESS_KEY_ID", KEY_ID.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET_KEY.to_owned()),
        ]
    }

    /// The keys of its objects.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        self.shared.lock().objects.keys().cloned().collect()
    }

    /// What is known of an object: its content type, and its metadata.
    #[must_use]
    pub fn headers(&self, key: &str) -> Vec<(String, String)> {
        let state = self.shared.lock();
        let object = state.objects.get(key);
        object.map(|it| it.headers.clone()).unwrap_or_default()
    }

    /// What it was asked by now: `GET key`, with its `Range`.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        self.shared.lock().asked.clone()
    }

    /// How much it was asked by nobody whom it knows.
    #[must_use]
    pub fn unsigned(&self) -> usize {
        self.shared.lock().unsigned
    }

    /// How much it was asked with a `traceparent`.
    #[must_use]
    pub fn traced(&self) -> usize {
        self.shared.lock().traced
    }

    /// From now on it answers everything with 500, or no more.
    pub fn fail(&self, fails: bool) {
        self.shared.lock().fails = fails;
    }
}

type Answer = Response<Full<Bytes>>;

async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Answer> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let mut state = shared.lock();
    state.traced += usize::from(head.headers.contains_key("traceparent"));
    if !is_signed(&head, &body) {
        state.unsigned += 1;
        return status(403);
    }
    let range = head.headers.get("range");
    let range = range.and_then(|it| it.to_str().ok()).unwrap_or_default();
    let path = head.uri.path();
    let key = path.strip_prefix(&format!("/{BUCKET}"));
    let key = key
        .unwrap_or("elsewhere")
        .trim_start_matches('/')
        .to_owned();
    let asked = format!("{} {key} {range}", head.method);
    state.asked.push(asked.trim_end().to_owned());
    if state.fails {
        return status(500);
    }
    match head.method {
        Method::PUT => {
            let object = Object {
                content: body,
                headers: known(&head.headers),
            };
            state.objects.insert(key, object);
            Ok(Response::builder()
                .header("etag", "\"stored\"")
                .body(Full::default())?)
        }
        Method::DELETE => {
            state.objects.remove(&key);
            status(204)
        }
        // DeleteObjects.
        Method::POST if head.uri.query() == Some("delete") => {
            let text = String::from_utf8_lossy(&body).into_owned();
            let mut deleted = String::new();
            for part in text.split("<Key>").skip(1) {
                let key = part.split("</Key>").next().unwrap_or_default();
                state.objects.remove(key);
                write!(deleted, "<Deleted><Key>{key}</Key></Deleted>")?;
            }
            let xml = format!("<?xml version=\"1.0\"?><DeleteResult>{deleted}</DeleteResult>");
            Ok(Response::new(Full::from(xml)))
        }
        Method::GET | Method::HEAD => match state.objects.get(&key) {
            Some(object) => given(object, &head.method, range),
            None => status(404),
        },
        _ => status(405),
    }
}

fn status(status: u16) -> Result<Answer> {
    Ok(Response::builder().status(status).body(Full::default())?)
}

fn known(headers: &HeaderMap) -> Vec<(String, String)> {
    let known = headers.iter().filter(|(name, _)| {
        let name = name.as_str();
        name == "content-type" || name.starts_with("x-amz-meta-")
    });
    known
        .map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            (name.as_str().to_owned(), value)
        })
        .collect()
}

fn given(object: &Object, method: &Method, range: &str) -> Result<Answer> {
    let bytes = object.content.len();
    let mut answer = Response::builder()
        .header("etag", "\"stored\"")
        .header("last-modified", "Sat, 29 Oct 1994 19:43:31 GMT");
    for (name, value) in &object.headers {
        answer = answer.header(name, value);
    }
    if *method == Method::HEAD {
        let answer = answer.header("content-length", bytes);
        return Ok(answer.body(Full::default())?);
    }
    let Some((first, last)) = range
        .strip_prefix("bytes=")
        .and_then(|it| it.split_once('-'))
    else {
        return Ok(answer.body(Full::from(object.content.clone()))?);
    };
    let (first, last) = (first.parse::<usize>()?, last.parse::<usize>()?);
    if first >= bytes || last < first {
        return status(416);
    }
    let last = last.min(bytes - 1);
    let answer = answer
        .status(206)
        .header("content-range", format!("bytes {first}-{last}/{bytes}"));
    Ok(answer.body(Full::from(object.content.slice(first..=last)))?)
}

/// Whether a request has the signature that it should (AWS Signature Version
/// 4, “Create a signed AWS API request”).
fn is_signed(head: &Parts, body: &[u8]) -> bool {
    signature(head, body).is_some_and(|(given, due)| given == due)
}

/// The signature that a request has, and the one that is due.
fn signature(head: &Parts, body: &[u8]) -> Option<(String, String)> {
    let header = |name: &str| head.headers.get(name)?.to_str().ok();
    let authorization = header("authorization")?.strip_prefix("AWS4-HMAC-SHA256 ")?;
    let part = |name: &str| {
        let mut parts = authorization.split(',').map(str::trim);
        parts.find_map(|it| it.strip_prefix(name)?.strip_prefix('='))
    };
    let (key_id, scope) = part("Credential")?.split_once('/')?;
    let date = header("x-amz-date")?;
    let day = date.get(..8)?;
    let is_ours = key_id == KEY_ID && scope == format!("{day}/{REGION}/s3/aws4_request");
    let content = header("x-amz-content-sha256")?;
    let is_whole = content == "UNSIGNED-PAYLOAD" || content == hexadecimal(&Hash::hash(body));
    if !is_ours || !is_whole {
        return None;
    }
    let signed = part("SignedHeaders")?;
    // What would change an answer has to be signed.
    if !["host", "x-amz-date", "x-amz-content-sha256"]
        .iter()
        .all(|it| signed.split(';').any(|name| name == *it))
    {
        return None;
    }
    let mut headers = String::new();
    for name in signed.split(';') {
        writeln!(headers, "{name}:{}", header(name)?.trim()).ok()?;
    }
    let query = head.uri.query().unwrap_or_default();
    let mut query: Vec<String> = query
        .split('&')
        .filter(|it| !it.is_empty())
        .map(|it| {
            if it.contains('=') {
                it.to_owned()
            } else {
                format!("{it}=")
            }
        })
        .collect();
    query.sort();
    let canonical = format!(
        "{}\n{}\n{}\n{headers}\n{signed}\n{content}",
        head.method,
        head.uri.path(),
        query.join("&"),
    );
    let to_sign = format!(
        "AWS4-HMAC-SHA256\n{date}\n{scope}\n{}",
        hexadecimal(&Hash::hash(canonical.as_bytes()))
    );
    let mut key = format!("AWS4{SECRET_KEY}").into_bytes();
    for input in [day, REGION, "s3", "aws4_request"] {
        key = HMAC::mac(input, &key).to_vec();
    }
    let due = hexadecimal(&HMAC::mac(to_sign, &key));
    Some((part("Signature")?.to_owned(), due))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
