//! A client that says nothing: it is pinged, and given up when that does not
//! help.

use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

use crate::process::patience::Moment;

/// How long a client has said nothing. Its timer is left alone while frames
/// come, and set again only when it fires.
pub struct Silence {
    max: Duration,
    since: Moment,
    is_pinged: bool,
    timer: Pin<Box<Sleep>>,
}

impl Silence {
    /// It begins now; `max` is how long it may be.
    #[must_use]
    pub fn new(max: Duration) -> Self {
        Self {
            max,
            since: Moment::now(),
            is_pinged: false,
            timer: Box::pin(sleep(max / 2)),
        }
    }

    /// The client has said something.
    pub fn is_broken(&mut self) {
        self.since = Moment::now();
        self.is_pinged = false;
    }

    /// Returns when half of the time is over, so that the client can be
    /// pinged, and then when all of it is: whether it is.
    pub async fn grows(&mut self) -> bool {
        loop {
            self.timer.as_mut().await;
            let is_over = self.is_pinged && self.since.elapsed() >= self.max;
            let is_due = !self.is_pinged && self.since.elapsed() >= self.max / 2;
            self.is_pinged |= is_due;
            let time = if self.is_pinged {
                self.max
            } else {
                self.max / 2
            };
            let left = self.since.left(time).unwrap_or_default();
            self.timer.as_mut().reset(Instant::now() + left);
            if is_over || is_due {
                return is_over;
            }
        }
    }
}
