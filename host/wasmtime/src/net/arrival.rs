//! A message of a socket's on its way in: what it reserves of the server's
//! memory before it is read, and the time that it may take.

use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::flow::intake::{FREE_BYTES, Reservation, Share};
use crate::net::boundary::{Announced, Boundary};
use crate::process::patience::Countdown;

/// The messages of one socket.
pub struct Arrivals {
    share: Arc<Share>,
    /// What a message has at most, in bytes: reserved for one whose frames do
    /// not say.
    bytes_max: usize,
    time_max: Duration,
    /// Of the message under way.
    reserved: Option<(u64, Reservation)>,
    waiting: Option<(u64, Waiting)>,
    /// Of a message that has come and that nobody has taken yet. There is one
    /// at most: a read has no room for two that reserve.
    arrived: Option<Reservation>,
    /// The time of the message under way.
    countdown: Countdown,
}

type Waiting = Pin<Box<dyn Future<Output = Option<Reservation>> + Send>>;

/// The message may not be read: it waited too long for memory.
pub fn is_overload(error: &io::Error) -> bool {
    error.kind() == ErrorKind::OutOfMemory
}

/// The message took too long.
pub fn is_timeout(error: &io::Error) -> bool {
    error.kind() == ErrorKind::TimedOut
}

impl Arrivals {
    /// Messages of at most so many bytes, each of which may take so long.
    #[must_use]
    pub fn new(share: Arc<Share>, bytes_max: usize, time_max: Duration) -> Self {
        Self {
            share,
            bytes_max,
            time_max,
            reserved: None,
            waiting: None,
            arrived: None,
            countdown: Countdown::default(),
        }
    }

    /// Whether more may be read. `Pending` while a message that has begun
    /// waits for memory; its time does not pass meanwhile.
    ///
    /// # Errors
    /// When it has waited too long ([`is_overload`]).
    pub fn poll_ready(
        &mut self,
        task: &mut Context<'_>,
        boundary: &Boundary,
    ) -> Poll<io::Result<()>> {
        let Announced {
            number,
            bytes,
            bytes_min,
        } = boundary.announced();
        if boundary.has_ended() || bytes_min <= FREE_BYTES as u64 {
            return Poll::Ready(Ok(()));
        }
        if self.reserved.as_ref().is_some_and(|(of, _)| *of == number) {
            return Poll::Ready(Ok(()));
        }
        let waiting = match &mut self.waiting {
            Some((of, waiting)) if *of == number => waiting,
            _ => {
                let bytes = bytes
                    .and_then(|bytes| usize::try_from(bytes).ok())
                    .map_or(self.bytes_max, |bytes| bytes.min(self.bytes_max));
                if let Some(reservation) = self.share.try_reserve(bytes) {
                    self.reserved = Some((number, reservation));
                    return Poll::Ready(Ok(()));
                }
                let waiting = Box::pin(Arc::clone(&self.share).reserve(bytes));
                &mut self.waiting.insert((number, waiting)).1
            }
        };
        match waiting.as_mut().poll(task) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(reservation) => {
                self.waiting = None;
                self.countdown.stop();
                let Some(reservation) = reservation else {
                    return Poll::Ready(Err(ErrorKind::OutOfMemory.into()));
                };
                self.reserved = Some((number, reservation));
                Poll::Ready(Ok(()))
            }
        }
    }

    /// Something was read.
    pub fn read(&mut self, boundary: &Boundary) {
        let number = boundary.announced().number;
        let is_whole = |of: u64| of < number || (of == number && boundary.has_ended());
        if let Some((_, reservation)) = self.reserved.take_if(|(of, _)| is_whole(*of)) {
            self.arrived = Some(reservation);
            // What has come behind it began just now.
            self.countdown.stop();
        }
        if boundary.is_between_messages() {
            self.countdown.stop();
        } else {
            self.countdown.begin();
        }
    }

    /// Fails when the message under way takes too long ([`is_timeout`]); to be
    /// asked when there is nothing to read.
    pub fn poll_time(&mut self, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        let over = self.countdown.poll_over(task, self.time_max);
        over.map(|()| Err(ErrorKind::TimedOut.into()))
    }

    /// What the message has reserved that has come; `None` when it was small.
    pub fn take(&mut self, bytes: usize) -> Option<Reservation> {
        let mut reservation = self.arrived.take_if(|_| bytes > FREE_BYTES)?;
        reservation.shrink(bytes);
        Some(reservation)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use futures_util::FutureExt;
    use std::future::poll_fn;
    use tungstenite::Message;
    use tungstenite::protocol::frame::Frame;
    use tungstenite::protocol::frame::coding::{Data, OpCode};

    use super::*;
    use crate::flow::intake::Intake;
    use crate::net::boundary::tests::sent;

    const MIB: usize = 1024 * 1024;

    /// A socket's input without a socket.
    struct Input {
        arrivals: Arrivals,
        boundary: Boundary,
    }

    impl Input {
        fn new(share: Arc<Share>, time_max: Duration) -> Self {
            Self {
                arrivals: Arrivals::new(share, 32 * MIB, time_max),
                boundary: Boundary::default(),
            }
        }

        /// Reads as a socket does; how much it was let.
        fn read(&mut self, bytes: &[u8]) -> usize {
            let mut read = 0;
            for piece in bytes.chunks(FREE_BYTES) {
                let ready = poll_fn(|task| self.arrivals.poll_ready(task, &self.boundary));
                match ready.now_or_never() {
                    Some(ready) => ready.unwrap(),
                    None => break,
                }
                self.boundary.read(piece);
                self.arrivals.read(&self.boundary);
                read += piece.len();
            }
            read
        }

        fn is_late(&mut self) -> bool {
            poll_fn(|task| self.arrivals.poll_time(task))
                .now_or_never()
                .is_some_and(|result| is_timeout(&result.unwrap_err()))
        }
    }

    fn fragment(bytes: usize, opcode: Data, is_final: bool) -> Message {
        let payload = "x".repeat(bytes);
        Message::Frame(Frame::message(payload, OpCode::Data(opcode), is_final))
    }

    #[tokio::test]
    async fn i7_a_message_hands_on_what_it_reserved() {
        let intake = Intake::new(256 * MIB);
        let share = intake.of_store("s");
        let mut input = Input::new(Arc::clone(&share), Duration::MAX);
        // As large as the store's whole share of such: asked for twice, it
        // would wait for itself.
        let message = sent([Message::binary(vec![0; 32 * MIB - 14])]);
        assert_eq!(input.read(&message), message.len());
        assert!(share.try_reserve(5 * MIB).is_none());
        let taken = input.arrivals.take(32 * MIB - 14);
        assert!(taken.is_some() && share.try_reserve(5 * MIB).is_none());
        drop(taken);
        assert!(share.try_reserve(5 * MIB).is_some());
        // Small ones reserve nothing, and take nothing of others.
        let small = sent([Message::text("x"), Message::text("y".repeat(FREE_BYTES))]);
        input.read(&small);
        assert!(input.arrivals.take(FREE_BYTES).is_none());
    }

    #[tokio::test]
    async fn i7_what_finds_no_memory_is_not_read_and_goes_on_when_there_is_some() {
        let intake = Intake::new(256 * MIB);
        let share = intake.of_store("s");
        let held = share.try_reserve(32 * MIB).unwrap();
        let mut input = Input::new(Arc::clone(&share), Duration::ZERO);
        let message = sent([Message::binary(vec![0; 5 * MIB])]);
        // What is read before the header is known, and no time passes.
        assert_eq!(input.read(&message), FREE_BYTES);
        drop(held);
        let rest = message.get(FREE_BYTES..).unwrap();
        assert_eq!(input.read(rest), rest.len());
        assert!(input.arrivals.take(5 * MIB).is_some());
    }

    #[tokio::test]
    async fn i7_fragments_count_as_what_they_may_become_and_pings_change_nothing() {
        let intake = Intake::new(256 * MIB);
        let share = intake.of_store("s");
        let mut input = Input::new(Arc::clone(&share), Duration::ZERO);
        let ping = || Message::Ping(vec![].into());
        input.read(&sent([fragment(1, Data::Text, false), ping()]));
        assert!(input.is_late(), "a ping does not end it");
        let next = [fragment(60_000, Data::Continue, false), ping()];
        input.read(&sent(next));
        assert!(share.try_reserve(5 * MIB).is_none());
        let mut other = Input::new(Arc::clone(&share), Duration::MAX);
        let begun = sent([fragment(60_000, Data::Text, false)]);
        assert!(other.read(&begun) < begun.len(), "there is no room for two");
        // Who gives up waiting is not waited for.
        drop(other);
        input.read(&sent([fragment(1, Data::Continue, true)]));
        assert!(!input.is_late());
        // It was a small one after all.
        let taken = input.arrivals.take(60_002);
        assert!(taken.is_some() && share.try_reserve(5 * MIB).is_some());
    }

    #[tokio::test]
    async fn a_socket_that_says_nothing_has_all_the_time_there_is() {
        let intake = Intake::new(256 * MIB);
        let mut input = Input::new(intake.of_store("s"), Duration::ZERO);
        assert!(!input.is_late());
        let message = sent([Message::text("x".repeat(100))]);
        let (last, most) = message.split_last().unwrap();
        input.read(most);
        assert!(input.is_late());
        input.read(&[*last]);
        assert!(!input.is_late());
    }
}
