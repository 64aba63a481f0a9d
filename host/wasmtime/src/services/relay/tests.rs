//! Calls of a small server that misbehaves, decided on by a guest that counts
//! how they end.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Mutex;

use anyhow::bail;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::contract::relay::{Call, Context, Failure, Passed, Streaming, Wait};

/// What the guest does with an answer.
#[derive(Clone, Copy, PartialEq)]
enum Does {
    Stream,
    /// And says that the first piece is the last.
    StreamOne,
    /// And traps at the first piece.
    Trap,
    Collect,
    Respond,
}

/// How calls ended: `None` for those that the guest has ended itself.
struct Counting {
    does: Does,
    url: String,
    idle_timeout_ms: u32,
    ends: Mutex<Vec<Option<Ending>>>,
}

fn response(body: &str) -> contract::Response {
    contract::Response {
        status: 200,
        headers: vec![],
        body: body.to_owned(),
    }
}

/// A value's name, without its type's.
fn name(value: impl std::fmt::Debug) -> String {
    let shown = format!("{value:?}");
    shown.rsplit(':').next().unwrap().to_owned()
}

impl Counting {
    fn call(&self) -> Step {
        Step::Call(Call {
            context: b"called".to_vec(),
            url: self.url.clone(),
            headers: vec![("authorization".to_owned(), "Bearer key".to_owned())],
            body: b"{}".to_vec(),
            connect_timeout_ms: 10_000,
            head_timeout_ms: 10_000,
            idle_timeout_ms: self.idle_timeout_ms,
        })
    }

    fn is_over(&self) {
        self.ends.lock().unwrap().push(None);
    }
}

impl Decides for Counting {
    fn begin(&self, _: &str, _: Result<&[u8], BodyFault>) -> Result<Step> {
        Ok(self.call())
    }

    fn again(&self, context: &Context) -> Result<Step> {
        assert_eq!(context, b"waited");
        Ok(self.call())
    }

    fn failed(&self, context: &Context, failure: Failure) -> Result<Step> {
        assert_eq!(context, b"called");
        self.is_over();
        Ok(Step::Respond(response(&name(failure))))
    }

    fn head_arrived(
        &self,
        context: &Context,
        status: u16,
        _: &[(String, String)],
    ) -> Result<Reading> {
        assert_eq!(context, b"called");
        if status == 429 {
            let context = b"waited".to_vec();
            let after_ms = 1;
            return Ok(Reading::Wait(Wait { context, after_ms }));
        }
        let context = b"reading".to_vec();
        Ok(match self.does {
            Does::Respond => {
                self.is_over();
                Reading::Respond(response(&status.to_string()))
            }
            Does::Collect => Reading::Collect(Collecting {
                context,
                bytes_max: 100_000,
            }),
            _ => Reading::Stream(Streaming {
                context,
                head: Head {
                    status,
                    headers: vec![],
                },
            }),
        })
    }

    fn answer(&self, context: &Context, body: Option<&[u8]>) -> Result<contract::Response> {
        assert_eq!(context, b"reading");
        self.is_over();
        let body = body.map(|it| it.len().to_string());
        Ok(response(&body.unwrap_or("cut off".to_owned())))
    }

    fn piece(&self, context: &Context, bytes: &[u8]) -> Result<Passed> {
        assert_eq!(context, b"reading");
        assert!(bytes.len() <= 64 * 1024);
        let is_last = self.does == Does::StreamOne;
        match self.does {
            Does::Trap => bail!("a trap"),
            Does::StreamOne => self.is_over(),
            _ => {}
        }
        Ok(Passed {
            context: context.to_vec(),
            output: bytes.to_vec(),
            is_last,
        })
    }

    fn end(&self, context: &Context, ending: Ending) -> Result<Vec<u8>> {
        assert!(!context.is_empty());
        self.ends.lock().unwrap().push(Some(ending));
        Ok(format!("|{}", name(ending)).into_bytes())
    }

    fn tokens_used(&self) -> u64 {
        0
    }
}

/// A server that answers each connection with the next of these, and keeps it
/// open then if it `stays`. What it has seen: that it has answered, and then
/// that the other end is gone.
async fn upstream(answers: Vec<&'static str>, stays: bool) -> (String, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let (tell, seen) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            read_request(&mut stream).await;
            stream.write_all(answer.as_bytes()).await.unwrap();
            if stays {
                tell.send(()).unwrap();
                // Until the other end is gone.
                let _ = stream.read_u8().await;
                tell.send(()).unwrap();
            }
        }
    });
    (url, seen)
}

type Seen = tokio::sync::mpsc::UnboundedReceiver<()>;

async fn read_request(stream: &mut TcpStream) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n{}") {
        request.push(stream.read_u8().await.unwrap());
    }
    let request = String::from_utf8(request).unwrap();
    assert!(request.contains("authorization: Bearer key"), "{request}");
}

const HEAD: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n";
const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n";
const BUSY: &str = "HTTP/1.1 429 Busy\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
const REDIRECT: &str =
    "HTTP/1.1 307 Redirect\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n";

/// A guest for an upstream, and a call that is about to be made.
fn guest(does: Does, url: &str, idle_timeout_ms: u32) -> (Arc<Counting>, Held<Counting>) {
    let guest = Arc::new(Counting {
        does,
        url: url.to_owned(),
        idle_timeout_ms,
        ends: Mutex::default(),
    });
    let places = Arc::new(Semaphore::new(1));
    let place = places.try_acquire_owned().unwrap();
    (Arc::clone(&guest), Held::new(guest, Some(place)))
}

fn share() -> Arc<Share> {
    Intake::new(1_000_000).of_store("s")
}

/// What the client gets, and how the call ended.
async fn call(does: Does, answers: Vec<&'static str>) -> (String, Vec<Option<Ending>>) {
    let (url, _gone) = upstream(answers, false).await;
    let (guest, held) = guest(does, &url, 10_000);
    let step = guest.begin("", Ok(b"")).unwrap();
    let outcome = Calls::new().run(held, step, share()).await;
    let text = match outcome.unwrap() {
        Outcome::Respond(response) => response.body,
        Outcome::Stream(head, passing) => {
            let body = passing.into_response(head).into_body();
            match body.collect().await {
                Ok(body) => String::from_utf8(body.to_bytes().to_vec()).unwrap(),
                Err(error) => error.to_string(),
            }
        }
    };
    let ends = guest.ends.lock().unwrap().clone();
    (text, ends)
}

#[tokio::test]
async fn a_call_ends_once_however_it_ends() {
    let text = |text: &str| -> &'static str { format!("{HEAD}{text}").leak() };
    let long = text(&"x".repeat(100_001));
    for (does, answers, client, end) in [
        (
            Does::Stream,
            vec![text("all")],
            "all|Ended",
            Some(Ending::Ended),
        ),
        (Does::Stream, vec![text("")], "|Ended", Some(Ending::Ended)),
        (
            Does::Stream,
            vec![CHUNKED],
            "first|Broken",
            Some(Ending::Broken),
        ),
        (Does::StreamOne, vec![CHUNKED], "first", None),
        (Does::Trap, vec![text("all")], "a trap", Some(Ending::Gone)),
        (Does::Collect, vec![text("all")], "3", None),
        (Does::Collect, vec![CHUNKED], "cut off", None),
        (Does::Collect, vec![long], "cut off", None),
        (Does::Respond, vec![text("all")], "200", None),
        (Does::Respond, vec![BUSY, BUSY, text("all")], "200", None),
        (Does::Respond, vec![REDIRECT], "307", None),
        (Does::Respond, vec!["HTTP/1.1 junk"], "Broken", None),
        (Does::Respond, vec![""], "Broken", None),
    ] {
        let (got, ends) = call(does, answers.clone()).await;
        assert_eq!(got, client, "{answers:?}");
        assert_eq!(ends, [end], "{answers:?}");
    }
}

#[tokio::test]
async fn an_upstream_that_is_not_there_is_unreachable() {
    for url in ["http://127.0.0.1:1/", "no URL"] {
        let (guest, held) = guest(Does::Respond, url, 10_000);
        let step = guest.begin("", Ok(b"")).unwrap();
        let outcome = Calls::new().run(held, step, share()).await.unwrap();
        let Outcome::Respond(response) = outcome else {
            panic!("{url}");
        };
        assert_eq!(response.body, "Unreachable", "{url}");
        assert_eq!(*guest.ends.lock().unwrap(), [None]);
    }
}

#[tokio::test]
async fn an_upstream_that_stalls_is_given_up() {
    let (url, mut seen) = upstream(vec![CHUNKED], true).await;
    let (guest, held) = guest(Does::Stream, &url, 1);
    let step = guest.begin("", Ok(b"")).unwrap();
    let outcome = Calls::new().run(held, step, share()).await.unwrap();
    let Outcome::Stream(head, passing) = outcome else {
        panic!("it is no stream");
    };
    let body = passing.into_response(head).into_body().collect().await;
    assert!(body.unwrap().to_bytes().ends_with(b"|Stalled"));
    assert_eq!(*guest.ends.lock().unwrap(), [Some(Ending::Stalled)]);
    seen.recv().await.unwrap();
    seen.recv().await.unwrap();
}

#[tokio::test]
async fn a_client_that_goes_ends_the_call_and_leaves_the_upstream() {
    // While it waits for a head, a piece, or all of it.
    for (does, answer) in [
        (Does::Stream, ""),
        (Does::Stream, CHUNKED),
        (Does::Collect, CHUNKED),
    ] {
        let (url, mut seen) = upstream(vec![answer], true).await;
        let (guest, held) = guest(does, &url, 10_000_000);
        let step = guest.begin("", Ok(b"")).unwrap();
        let calls = Calls::new();
        let (tell, mut shown) = tokio::sync::mpsc::unbounded_channel();
        let client = async {
            match calls.run(held, step, share()).await.unwrap() {
                Outcome::Respond(response) => panic!("{}", response.body),
                Outcome::Stream(head, passing) => {
                    let mut body = passing.into_response(head).into_body();
                    while body.frame().await.is_some() {
                        tell.send(()).unwrap();
                    }
                    panic!("it has ended");
                }
            }
        };
        let mut client = Box::pin(client);
        let is_reached = async {
            seen.recv().await.unwrap();
            if does == Does::Stream && !answer.is_empty() {
                shown.recv().await.unwrap();
            }
        };
        tokio::select! {
            () = &mut client => {}
            () = is_reached => {}
        }
        assert_eq!(*guest.ends.lock().unwrap(), []);
        drop(client);
        assert_eq!(*guest.ends.lock().unwrap(), [Some(Ending::Gone)]);
        seen.recv().await.unwrap();
    }
}
