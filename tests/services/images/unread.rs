//! Answers that are there before the body that they answer has ended: their
//! clients, which are still sending, see them. Before Workers there is
//! Cloudflare's edge, which takes what is sent.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::callers::User;
use crate::picture::{Form, content_type, png};
use crate::stage::Stage;
use crate::{Scenario, scenarios};

use super::UPLOAD;

pub fn of_wasmtime() -> Vec<Scenario> {
    scenarios![Tokens: i7_who_is_still_sending_sees_the_answer]
}

/// A connection that is kept, as browsers keep theirs.
struct Kept(BufReader<TcpStream>);

impl Kept {
    fn to(stage: &Stage) -> Self {
        let authority = stage.server.url.trim_start_matches("http://");
        let stream = TcpStream::connect(authority).expect("it listens");
        let patience = Some(Duration::from_secs(60));
        stream.set_read_timeout(patience).expect("a socket");
        Self(BufReader::new(stream))
    }

    fn send(&mut self, bytes: &[u8]) {
        let sent = self.0.get_mut().write_all(bytes);
        sent.expect("the connection is kept");
    }

    /// The next answer's status.
    fn status(&mut self) -> u16 {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).expect("an answer");
            assert!(!line.is_empty(), "the connection ended: {lines:?}");
            if line == "\r\n" {
                break;
            }
            lines.push(line.trim().to_ascii_lowercase());
        }
        let length = lines.iter().find_map(|line| {
            let length = line.strip_prefix("content-length: ")?;
            length.parse().ok()
        });
        let mut body = vec![0; length.expect("an answer's length")];
        self.0.read_exact(&mut body).expect("an answer's body");
        let status = lines.first().and_then(|line| line.split(' ').nth(1));
        status.and_then(|it| it.parse().ok()).expect("a status")
    }
}

/// The head of an upload whose length is not said.
fn head(user: Option<&User>) -> String {
    let mut head = format!(
        "POST {UPLOAD} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {}\r\ntransfer-encoding: chunked\r\n",
        content_type()
    );
    if let Some(user) = user {
        head += &format!(
            "authorization: Bearer {}\r\n",
            user.token.as_deref().expect("a token")
        );
    }
    head + "\r\n"
}

fn chunk(bytes: &[u8]) -> Vec<u8> {
    let head = format!("{:x}\r\n", bytes.len());
    [head.as_bytes(), bytes, b"\r\n"].concat()
}

fn i7_who_is_still_sending_sees_the_answer(stage: &Stage) {
    const END: &[u8] = b"0\r\n\r\n";
    let user = stage.user("still-sending");
    let form = Form::with_file(&png()).end();
    // Refused before anything of the body has come.
    let mut connection = Kept::to(stage);
    connection.send(head(None).as_bytes());
    assert_eq!(connection.status(), 401);
    for _ in 0..64 {
        connection.send(&chunk(&[b'x'; 16 * 1024]));
    }
    connection.send(END);
    // Served when all parts have come, and before the body has ended.
    connection.send(head(Some(&user)).as_bytes());
    connection.send(&chunk(&form));
    assert_eq!(connection.status(), 200);
    connection.send(END);
    // And what follows is a request.
    connection.send(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n");
    assert_eq!(connection.status(), 200);
}
