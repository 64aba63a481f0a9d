//! Calls that are passed on to another server, as the guest decides on them
//! (`wit/relay.wit`).

mod held;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::Request;
use hyper::body::Frame;
use tokio::sync::Semaphore;

use self::held::{Decides, Held, Relaying};
use super::Guest;
use super::upstream::{Caller, Upstream};
use crate::contract;
use crate::contract::relay::{BodyFault, Collecting, Ending, Reading, Step};
use crate::contract::services::{Head, Relay};
use crate::exchange::answer::{self, Response, status_of};
use crate::exchange::body::{BodyError, Cut, read_body};
use crate::exchange::received::Received;
use crate::flow::intake::{Intake, Reservation, Share};
use crate::telemetry::outward::Within;
use crate::telemetry::peer::Peer;

/// Calls under way: one more is told to come back.
const RELAYS_MAX: usize = 256;

/// What clients' bodies may take in memory until the upstream has answered, in
/// bytes. Apart from sync's, so that none of those waits for another server.
const BODIES_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What answers that are read whole may take in memory, in bytes. Whoever
/// waits for it may hold some of the above, and nobody waits the other way.
const ANSWERS_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Of an answer that is read whole, what counts for nothing, in bytes: nearly
/// all have less.
const ANSWER_BYTES_FREE: usize = 64 * 1024;

/// Calls of another server.
pub struct Relays {
    calls: Calls,
    bodies: Arc<Intake>,
    places: Arc<Semaphore>,
    message_timeout: Duration,
}

/// Calls, and memory for their answers.
struct Calls {
    caller: Caller,
    answers: Arc<Intake>,
}

/// What becomes of a call.
enum Outcome<D: Decides> {
    /// It is answered.
    Respond(contract::Response),
    /// The upstream's answer is passed on.
    Stream(Head, Box<Passing<D>>),
}

impl Relays {
    /// No calls yet. `message_timeout` is how long a body may take to arrive.
    pub fn new(message_timeout: Duration) -> Self {
        Self {
            calls: Calls::new(),
            bodies: Intake::new(BODIES_BYTES_MAX),
            places: Arc::new(Semaphore::new(RELAYS_MAX)),
            message_timeout,
        }
    }

    /// Passes a call on. When its client goes, what is returned is dropped,
    /// and the upstream's connection with it.
    pub async fn relay(
        &self,
        guest: &Guest,
        relay: Relay,
        request: Request<Received>,
        (peer, within): (&Peer, Within),
    ) -> Response {
        let Relay {
            context,
            body_bytes_max,
            headers,
        } = relay;
        let place = Arc::clone(&self.places).try_acquire_owned().ok();
        let read = match place {
            Some(_) => self.read(request.into_body(), body_bytes_max, peer).await,
            None => Err(BodyFault::Busy),
        };
        let (body, _reservation) = match read {
            Ok((body, reservation)) => (Ok(body), reservation),
            Err(fault) => (Err(fault), None),
        };
        let relaying = Arc::new(Relaying::new(Arc::clone(&guest.gateway)));
        let begun = relaying.begin(&context, body.as_deref().map_err(|fault| *fault));
        drop(body);
        let share = self.calls.answers.of_store(&peer.address.ip().to_string());
        let held = Held::new(relaying, place).within(within);
        let outcome = match begun {
            Ok(step) => self.calls.run(held, step, share).await,
            Err(error) => Err(error),
        };
        match outcome {
            Ok(Outcome::Respond(response)) => guest.answer(response, peer),
            Ok(Outcome::Stream(head, passing)) => passing.into_response(head),
            Err(error) => guest.failed(error, headers),
        }
    }

    /// Reads a request's body, one byte more than it may have at most.
    async fn read(
        &self,
        body: Received,
        bytes_max: u32,
        peer: &Peer,
    ) -> Result<(Bytes, Option<Reservation>), BodyFault> {
        let bytes_max = (bytes_max as usize).saturating_add(1);
        let limits = (bytes_max, self.message_timeout);
        let share = self.bodies.of_store(&peer.address.ip().to_string());
        let read = read_body(Cut::new(body, bytes_max), limits, share).await;
        read.map_err(|error| match error {
            BodyError::TooSlow => BodyFault::TooSlow,
            BodyError::Overloaded => BodyFault::Busy,
            // What is cut is never too large.
            BodyError::Broken | BodyError::TooLarge => BodyFault::Broken,
        })
    }
}

impl Calls {
    fn new() -> Self {
        Self {
            caller: Caller::default(),
            answers: Intake::new(ANSWERS_BYTES_MAX),
        }
    }

    /// Does what the guest says until there is an answer.
    async fn run<D: Decides>(
        &self,
        mut held: Held<D>,
        mut step: Step,
        share: Arc<Share>,
    ) -> Result<Outcome<D>> {
        loop {
            let reading = match step {
                Step::Respond(response) => {
                    held.is_over();
                    return Ok(Outcome::Respond(response));
                }
                Step::Wait(wait) => {
                    held.keep(wait.context);
                    pause(wait.after_ms).await;
                    step = held.again()?;
                    continue;
                }
                Step::Call(mut call) => {
                    held.keep(std::mem::take(&mut call.context));
                    let span = held.calls(&call.url);
                    match self.caller.call(call, span).await {
                        Ok(upstream) => {
                            let (status, headers) = (upstream.status(), upstream.headers());
                            (held.head_arrived(status, &headers)?, upstream)
                        }
                        Err(failure) => {
                            step = held.failed(failure)?;
                            continue;
                        }
                    }
                }
            };
            match reading {
                (Reading::Respond(response), _) => {
                    held.is_over();
                    return Ok(Outcome::Respond(response));
                }
                (Reading::Wait(wait), upstream) => {
                    drop(upstream);
                    held.call_is_over(None);
                    held.keep(wait.context);
                    pause(wait.after_ms).await;
                    step = held.again()?;
                }
                (Reading::Collect(Collecting { context, bytes_max }), upstream) => {
                    held.keep(context);
                    let body = collect(upstream, bytes_max as usize, share).await;
                    return Ok(Outcome::Respond(held.answer(body.as_deref())?));
                }
                (Reading::Stream(streaming), upstream) => {
                    held.keep(streaming.context);
                    let upstream = Some(upstream);
                    let passing = Box::new(Passing { held, upstream });
                    return Ok(Outcome::Stream(streaming.head, passing));
                }
            }
        }
    }
}

/// As long as the guest wants to wait.
async fn pause(ms: u32) {
    tokio::time::sleep(Duration::from_millis(ms.into())).await;
}

/// Reads an answer to its end; `None` if it breaks off, is silent for too
/// long, is larger than it may be, or finds no memory.
async fn collect(mut upstream: Upstream, bytes_max: usize, share: Arc<Share>) -> Option<Bytes> {
    let announced = upstream.bytes_announced().unwrap_or_default();
    if announced > bytes_max as u64 {
        return None;
    }
    let mut all = BytesMut::new();
    // Once at most, for all that it may become: nobody holds some of it while
    // he waits for more.
    let mut reservation = None;
    while let Some(piece) = upstream.piece().await.ok()? {
        let bytes = all.len() + piece.len();
        if bytes > bytes_max {
            return None;
        }
        if bytes > ANSWER_BYTES_FREE && reservation.is_none() {
            reservation = Some(Arc::clone(&share).reserve(bytes_max).await?);
        }
        all.extend_from_slice(&piece);
    }
    Some(all.freeze())
}

/// An answer that is passed on.
struct Passing<D: Decides> {
    held: Held<D>,
    /// `None` when all is written.
    upstream: Option<Upstream>,
}

impl<D: Decides> Passing<D> {
    /// What is to be written next; `None` at the end. The upstream is read
    /// when this is asked for, and not before.
    async fn next(&mut self) -> Result<Option<Bytes>> {
        while let Some(upstream) = &mut self.upstream {
            let output = match upstream.piece().await {
                Ok(Some(bytes)) => {
                    let passed = self.held.piece(&bytes)?;
                    if passed.is_last {
                        self.held.is_over();
                        self.upstream = None;
                    } else {
                        self.held.keep(passed.context);
                    }
                    passed.output
                }
                Ok(None) => self.end(Ending::Ended)?,
                Err(ending) => self.end(ending)?,
            };
            if !output.is_empty() {
                return Ok(Some(output.into()));
            }
        }
        Ok(None)
    }

    fn end(&mut self, ending: Ending) -> Result<Vec<u8>> {
        self.upstream = None;
        self.held.end(ending)
    }

    fn into_response(self: Box<Self>, head: Head) -> Response {
        let pieces = stream::try_unfold(self, async |mut passing| {
            let next = passing.next().await?;
            Ok::<_, anyhow::Error>(next.map(|output| (Frame::data(output), passing)))
        });
        let body = StreamBody::new(pieces).map_err(Into::into).boxed_unsync();
        answer::response(status_of(head.status), head.headers, body)
    }
}
