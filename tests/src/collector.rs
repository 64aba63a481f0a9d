//! A collector: takes OTLP over HTTP, decodes its protobuf, and keeps what it
//! was sent; or does as bad ones do.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use prost::Message;

pub use opentelemetry_proto::tonic::trace::v1::Span;

/// How long something may take that has to come.
const PATIENCE: Duration = Duration::from_secs(60);

/// The type of what is sent, and answered.
const PROTOBUF: &str = "application/x-protobuf";

/// What a collector does with what it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// It takes it.
    Takes,
    /// It reads it and never answers.
    Silent,
    /// It refuses it.
    Refuses,
    /// It says that it takes it, and goes on saying so.
    Endless,
    /// The same, a byte at a time.
    Trickles,
    /// It answers with this status and text.
    Answers(u16, &'static str),
    /// It speaks another protocol.
    Garbage,
    /// It names another port of this machine's.
    Redirects(u16),
    /// It takes it, and says that it rejects so many things of it.
    TakesPart(i64),
}

/// A running collector. It ends with the test.
pub struct Collector {
    /// `http://127.0.0.1:PORT`.
    pub url: String,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Default)]
struct Taken {
    spans: Vec<Span>,
    metrics: Vec<ExportMetricsServiceRequest>,
    requests: usize,
}

impl Collector {
    /// One that does this.
    ///
    /// # Panics
    /// When there is no port.
    #[must_use]
    pub fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let taken = Arc::<Mutex<Taken>>::default();
        let shared = Arc::clone(&taken);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let taken = Arc::clone(&shared);
                std::thread::spawn(move || serve(stream, manner, &taken));
            }
        });
        Self { url, taken }
    }

    fn with<T>(&self, look: impl FnOnce(&Taken) -> T) -> T {
        look(&self.taken.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// All spans so far.
    #[must_use]
    pub fn spans(&self) -> Vec<Span> {
        self.with(|taken| taken.spans.clone())
    }

    /// Its port.
    ///
    /// # Panics
    /// Never: it has one.
    #[must_use]
    pub fn port(&self) -> u16 {
        let port = self.url.rsplit(':').next().and_then(|it| it.parse().ok());
        port.expect("a port")
    }

    /// How often it was called.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.with(|taken| taken.requests)
    }

    /// The names of all metrics so far.
    #[must_use]
    pub fn metrics(&self) -> Vec<String> {
        self.with(|taken| {
            let resources = taken.metrics.iter().flat_map(|it| &it.resource_metrics);
            let scopes = resources.flat_map(|it| &it.scope_metrics);
            let metrics = scopes.flat_map(|it| &it.metrics);
            metrics.map(|metric| metric.name.clone()).collect()
        })
    }

    /// Waits for what `find` makes something of.
    ///
    /// # Panics
    /// When it does not come.
    pub fn wait_for<T>(&self, what: &str, find: impl Fn(&Self) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = find(self) {
                return found;
            }
            let names: Vec<_> = self.spans().into_iter().map(|it| it.name).collect();
            assert!(Instant::now() < deadline, "{what} did not come: {names:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The first span of this name in this trace, when it is there.
    #[allow(clippy::must_use_candidate)]
    pub fn span(&self, trace_id: &str, name: &str) -> Span {
        self.wait_for(name, |it| {
            let spans = it.spans().into_iter();
            let mut found = spans.filter(|it| hex(&it.trace_id) == trace_id && it.name == name);
            found.next()
        })
    }
}

/// Bytes in hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A span's attribute, as text.
#[must_use]
pub fn attribute(span: &Span, key: &str) -> Option<String> {
    let found = span.attributes.iter().find(|it| it.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        other => Some(format!("{other:?}")),
    }
}

/// Reads requests until there are none.
fn serve(stream: TcpStream, manner: Manner, taken: &Mutex<Taken>) {
    let Ok(mut answers) = stream.try_clone() else {
        return;
    };
    let mut requests = BufReader::new(stream);
    while let Some((path, body)) = read(&mut requests) {
        {
            let mut taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
            taken.requests += 1;
            if path == "/v1/traces" {
                let request = ExportTraceServiceRequest::decode(body.as_slice()).expect("spans");
                let resources = request.resource_spans.into_iter();
                let scopes = resources.flat_map(|it| it.scope_spans);
                taken.spans.extend(scopes.flat_map(|it| it.spans));
            } else {
                let request = ExportMetricsServiceRequest::decode(body.as_slice());
                taken.metrics.push(request.expect("metrics"));
            }
        }
        let written = match manner {
            Manner::Takes => answer(&mut answers, 200, PROTOBUF, b""),
            Manner::TakesPart(rejected) => {
                // Those of all signals are written alike.
                let part = ExportTracePartialSuccess {
                    rejected_spans: rejected,
                    error_message: "full".to_owned(),
                };
                let part = ExportTraceServiceResponse {
                    partial_success: Some(part),
                };
                answer(&mut answers, 200, PROTOBUF, &part.encode_to_vec())
            }
            Manner::Silent => continue,
            Manner::Refuses => answer(&mut answers, 400, PROTOBUF, b""),
            Manner::Answers(status, text) => {
                answer(&mut answers, status, "text/html", text.as_bytes())
            }
            Manner::Redirects(port) => {
                let there = format!("location: http://127.0.0.1:{port}{path}");
                let head = format!("HTTP/1.1 307 There\r\n{there}\r\ncontent-length: 0\r\n\r\n");
                answers.write_all(head.as_bytes())
            }
            Manner::Garbage => {
                let _ = answers.write_all(b"SSH-2.0-OpenSSH_9.6\r\n");
                return;
            }
            Manner::Trickles => {
                let _ = answers.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
                while answers.write_all(&[0]).is_ok() {
                    std::thread::sleep(Duration::from_millis(20));
                }
                return;
            }
            Manner::Endless => {
                let _ = answers.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9000000000\r\n\r\n");
                while answers.write_all(&[0; 65_536]).is_ok() {}
                return;
            }
        };
        if written.is_err() {
            return;
        }
    }
}

fn answer(to: &mut TcpStream, status: u16, kind: &str, body: &[u8]) -> std::io::Result<()> {
    let bytes = body.len();
    let head = format!(
        "HTTP/1.1 {status} Said\r\nContent-Type: {kind}\r\nContent-Length: {bytes}\r\n\r\n"
    );
    to.write_all(head.as_bytes())?;
    to.write_all(body)
}

/// A request's path and body; `None` when there is none.
fn read(requests: &mut BufReader<TcpStream>) -> Option<(String, Vec<u8>)> {
    let mut line = String::new();
    requests.read_line(&mut line).ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut bytes = Some(0);
    loop {
        let mut header = String::new();
        requests.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim().split_once(':') else {
            break;
        };
        if name.eq_ignore_ascii_case("content-length") {
            bytes = Some(value.trim().parse().ok()?);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            bytes = None;
        }
    }
    let body = match bytes {
        Some(bytes) => read_piece(requests, bytes)?,
        None => read_chunks(requests)?,
    };
    Some((path, body))
}

fn read_piece(requests: &mut BufReader<TcpStream>, bytes: usize) -> Option<Vec<u8>> {
    let mut piece = vec![0; bytes];
    requests.read_exact(&mut piece).ok()?;
    Some(piece)
}

/// A body that is sent in chunks, as Node does.
fn read_chunks(requests: &mut BufReader<TcpStream>) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        requests.read_line(&mut line).ok()?;
        let bytes = usize::from_str_radix(line.trim(), 16).ok()?;
        body.extend(read_piece(requests, bytes)?);
        read_piece(requests, "\r\n".len())?;
        if bytes == 0 {
            return Some(body);
        }
    }
}
