//! Rooms' answers to HTTP requests: page by page, as the client takes them.

use std::time::Duration;

use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::sync::oneshot::{self, error::RecvError};

use crate::component::turn::{Answer, Page};
use crate::exchange::answer::{Response, body_of, response, status_of};
use crate::process::patience::Moment;
use crate::rooms::event::Event;
use crate::rooms::shards::RoomQueue;

/// What a page counts for while it is made, in bytes: about what one has.
const PAGE_BYTES: usize = 1_000_000;

/// How long a page waits until the store's clients have taken of those before.
const PAGE_WAIT_MAX: Duration = Duration::from_secs(30);

/// How often it is looked whether they have.
const PAGE_WAIT: Duration = Duration::from_millis(20);

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
        let pages = stream::try_unfold(
            begin,
            async |(room, output, step)| -> Result<_, RecvError> {
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
            },
        );
        StreamBody::new(pages).map_err(Into::into).boxed_unsync()
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
