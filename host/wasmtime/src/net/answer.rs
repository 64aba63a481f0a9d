//! Answers to HTTP requests: whole, or page by page as the client takes them.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::StatusCode;
use hyper::body::Frame;
use hyper::header::{HeaderName, HeaderValue};
use tokio::sync::oneshot::{self, error::RecvError};

use crate::component::turn::{Answer, Page};
use crate::contract;
use crate::process::patience::Moment;
use crate::rooms::event::Event;
use crate::rooms::shards::RoomQueue;

/// What a page counts for while it is made, in bytes: about what one has.
const PAGE_BYTES: usize = 1_000_000;

/// How long a page waits until the store's clients have taken of those before.
const PAGE_WAIT_MAX: Duration = Duration::from_secs(30);

/// How often it is looked whether they have.
const PAGE_WAIT: Duration = Duration::from_millis(20);

/// An answer. Its body fails only when a room's turn does: then it is cut
/// off, so that nobody takes it for the whole.
pub type Response = hyper::Response<UnsyncBoxBody<Bytes, RecvError>>;

/// Writes an answer page by page: a page is asked for only when the client
/// has taken all before the last one.
pub fn stream(room: RoomQueue, answer: Answer) -> Response {
    let Answer {
        status,
        headers,
        first,
        output,
    } = answer;
    let body = if first.continuation.is_none() {
        body_of(first.body)
    } else {
        let begin = (room, output, Step::Write(first));
        let pages = stream::try_unfold(begin, async |(room, output, step)| {
            let page = match step {
                Step::Write(page) => page,
                Step::Ask(continuation) => {
                    // The client has taken the page before; others have not
                    // taken theirs.
                    let waiting = Moment::now();
                    while output.is_over() && waiting.left(PAGE_WAIT_MAX).is_some() {
                        tokio::time::sleep(PAGE_WAIT).await;
                    }
                    // Or all that wait would go on at once.
                    let _count = output.expect(PAGE_BYTES);
                    next_page(&room, continuation).await?
                }
                Step::End => return Ok(None),
            };
            let next = page.continuation.map_or(Step::End, Step::Ask);
            Ok(Some((Frame::data(page.body), (room, output, next))))
        });
        StreamBody::new(pages).boxed_unsync()
    };
    response(status_of(status), headers, body)
}

/// What is next of a paged answer.
enum Step {
    Write(Page),
    Ask(String),
    End,
}

/// Asks a room for a page. If its turn fails, the answer is cut off, so that
/// nobody takes it for the whole.
async fn next_page(room: &RoomQueue, continuation: String) -> Result<Page, RecvError> {
    let (reply, page) = oneshot::channel();
    room.deliver(Event::Resume {
        continuation,
        reply,
    });
    page.await
}

pub fn http_response(answer: contract::Response) -> Response {
    with_head(status_of(answer.status), answer.headers, answer.body)
}

pub fn status_of(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

pub fn body_of(text: impl Into<Bytes>) -> UnsyncBoxBody<Bytes, RecvError> {
    Full::new(text.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

pub fn with_head(
    status: StatusCode,
    headers: Vec<(String, String)>,
    body: impl Into<Bytes>,
) -> Response {
    response(status, headers, body_of(body))
}

pub fn response(
    status: StatusCode,
    headers: Vec<(String, String)>,
    body: UnsyncBoxBody<Bytes, RecvError>,
) -> Response {
    let mut response = hyper::Response::new(body);
    *response.status_mut() = status;
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().append(name, value);
        }
    }
    response
}
