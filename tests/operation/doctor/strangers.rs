//! What answers at an address and is no server of ours, or has something in
//! front of it that harms.

use std::io::{Chain, Cursor, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use syncline_tests::profile::Profile;
use syncline_tests::server::Syncline;
use tungstenite::protocol::CloseFrame;

use super::{Outcome, doctor};

/// A date long past.
const PAST: &str = "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n";

fn visit(variables: &[(&'static str, &str)], url: &str, more: &[&str]) -> Outcome {
    let dir = tempfile::tempdir().unwrap();
    let limits = ["--timeout", "5s", "--idle-for", "2s"];
    let arguments = [&["--url", url][..], &limits, more].concat();
    doctor(&Syncline::with_variables(variables), dir.path(), &arguments)
}

/// The head of a request.
fn head(stream: &mut impl Read) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
        head.push(byte[0]);
    }
    String::from_utf8_lossy(&head).into_owned()
}

/// Something that answers each connection's first request by its path, and
/// ends; its URL.
fn stranger(answer: fn(&str) -> String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            thread::spawn(move || {
                let head = head(&mut stream);
                let path = head.split(' ').nth(1).unwrap_or_default();
                let _ = stream.write_all(answer(path).as_bytes());
                let _ = stream.shutdown(Shutdown::Write);
                // A body that is not read would reset the connection.
                let _ = stream.read_to_end(&mut Vec::new());
            });
        }
    });
    url
}

fn response(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}

#[test]
fn a_clock_that_is_off_is_seen() {
    let url = stranger(|_| response("200 OK", PAST, "ok"));
    visit(&[], &url, &[]).expect("fail", "clock", &["s behind this machine's", "timedatectl"]);
}

#[test]
fn a_server_that_is_not_ready_says_why() {
    let url = stranger(|path| match path {
        "/readyz" => response("503 Service Unavailable", "", "shard 2 does not turn"),
        _ => response("200 OK", "", "ok"),
    });
    let found = visit(&[], &url, &[]);
    found.well("healthz");
    found.expect("fail", "readyz", &["503", "shard 2 does not turn"]);
}

#[test]
fn another_program_is_not_taken_for_syncline() {
    let url = stranger(|_| response("404 Not Found", "", "<h1>nginx</h1>"));
    let found = visit(&[], &url, &[]);
    found.expect("fail", "healthz", &["404", "no Syncline"]);
    found.expect("fail", "websocket", &["refused with 404", "Upgrade"]);
    found.expect("fail", "http", &["nginx", "POST"]);
    found.expect("warn", "page", &["404"]);
    let url = stranger(|_| response("301 Moved", "location: https://elsewhere.example/\r\n", ""));
    visit(&[], &url, &[]).expect("fail", "healthz", &["elsewhere.example", "--url"]);
    // A proxy that takes `Upgrade` out.
    let url = stranger(|_| response("200 OK", "content-type: text/html\r\n", "ok"));
    visit(&[], &url, &[]).expect("fail", "websocket", &["200", "like a page"]);
    // Something that does not speak HTTP.
    let url = stranger(|_| "SSH-2.0-OpenSSH_9.9\r\n".to_owned());
    visit(&[], &url, &[]).expect("fail", "healthz", &["no answer"]);
}

/// A proxy that ends connections over which nothing goes for a while; its URL.
fn impatient_proxy(server: &str, patience: Duration) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = server.trim_start_matches("http://").to_owned();
    let pass = move |mut from: TcpStream, mut to: TcpStream| {
        let _ = from.set_read_timeout(Some(patience));
        let mut piece = [0; 4_096];
        while let Ok(bytes @ 1..) = from.read(&mut piece) {
            if to.write_all(&piece[..bytes]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
        let _ = from.shutdown(Shutdown::Both);
    };
    thread::spawn(move || {
        for client in listener.incoming() {
            let (Ok(client), Ok(server)) = (client, TcpStream::connect(&server)) else {
                return;
            };
            let (back, forth) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            thread::spawn(move || pass(client, forth));
            thread::spawn(move || pass(server, back));
        }
    });
    url
}

#[test]
fn a_proxy_that_closes_silent_sockets_is_seen() {
    let server = Syncline::new("memory", Profile::Open).start().unwrap();
    let url = impatient_proxy(&server.url, Duration::from_millis(700));
    let found = visit(&[], &url, &["--store", "doctors-own"]);
    found.well("sync");
    found.expect(
        "fail",
        "idle",
        &["silent socket did not last", "proxy_read_timeout"],
    );
    visit(&[], &server.url, &["--store", "doctors-own"]).well("idle");
}

/// What was read already, and the rest.
struct Again<S>(Chain<Cursor<Vec<u8>>, S>);

impl<S: Read> Read for Again<S> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer)
    }
}

impl<S: Write + Read> Write for Again<S> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.get_mut().1.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.get_mut().1.flush()
    }
}

fn fixture(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures/tls")
        .join(name)
}

/// A server over TLS that is well, and refuses every socket; its port.
fn over_tls() -> u16 {
    let certificate = CertificateDer::from_pem_file(fixture("certificate.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(fixture("key.pem")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let config = Arc::clone(&config);
            let Ok(stream) = stream else { return };
            thread::spawn(move || {
                let connection = ServerConnection::new(config).unwrap();
                let mut tls = StreamOwned::new(connection, stream);
                let head = head(&mut tls);
                if head.to_ascii_lowercase().contains("upgrade: websocket") {
                    let again = Again(Cursor::new(head.into_bytes()).chain(tls));
                    let mut socket = tungstenite::accept(again).unwrap();
                    let close = CloseFrame {
                        code: 4401.into(),
                        reason: "TOKEN_MISSING".into(),
                    };
                    let _ = socket.close(Some(close));
                    while socket.read().is_ok() {}
                } else if !head.is_empty() {
                    let _ = tls.write_all(response("200 OK", "", "ok").as_bytes());
                    tls.conn.send_close_notify();
                    let _ = tls.flush();
                }
            });
        }
    });
    port
}

#[test]
fn a_certificate_that_nobody_vouches_for_is_seen() {
    let port = over_tls();
    let url = format!("https://localhost:{port}");
    let found = visit(&[], &url, &[]);
    found.expect("fail", "tls", &["certificate", "authority"]);
    assert!(found.of("healthz").is_empty(), "it went on: {found:#?}");
    if cfg!(target_os = "linux") {
        // Whom this machine trusts, there, can be said.
        let file = fixture("certificate.pem");
        let trusted = [("SSL_CERT_FILE", file.to_str().unwrap())];
        let found = visit(&trusted, &url, &[]);
        found.well("tls");
        found.well("healthz");
        found.expect("ok", "admission", &["4401 TOKEN_MISSING"]);
        let found = visit(&trusted, &format!("https://127.0.0.2:{port}"), &[]);
        assert_eq!(found.code, 1, "another name: {found:#?}");
    }
}

#[test]
fn plain_http_where_tls_is_expected_is_seen() {
    let url = stranger(|_| response("200 OK", "", "ok"));
    let found = visit(&[], &url.replace("http://", "https://"), &[]);
    found.expect("fail", "tls", &["is http:// meant"]);
}
