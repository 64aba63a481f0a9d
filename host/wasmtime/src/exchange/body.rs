//! Bodies of HTTP requests, read within their limits.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::StatusCode;
use hyper::body::{Body, Frame, SizeHint};

use crate::contract::{Fault, Refusal};
use crate::exchange::answer::BrokenOff;
use crate::flow::intake::{FREE_BYTES, Reservation, Share};
use crate::process::patience::{self, Moment};

/// What is reserved for a body that does not say how large it will be, and
/// is larger than a small message, at first, in bytes.
const UNKNOWN_BODY_BYTES: usize = 64 * 1024;

/// Why a body could not be read.
pub enum BodyError {
    /// It is larger than it may be.
    TooLarge,
    /// It did not arrive in time.
    TooSlow,
    /// It ended before its end.
    Broken,
    /// There is no memory for it.
    Overloaded,
}

impl BodyError {
    /// What its client is told.
    #[must_use]
    pub fn refusal(&self, bytes_max: usize, overloaded: &Fault) -> Refusal {
        let (status, code, message) = match self {
            Self::TooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "BODY_TOO_LARGE",
                format!("The body has more than {bytes_max} bytes."),
            ),
            Self::TooSlow => (
                StatusCode::REQUEST_TIMEOUT,
                "BODY_TIMEOUT",
                "The body did not arrive in time.".to_owned(),
            ),
            Self::Broken => (
                StatusCode::BAD_REQUEST,
                "BODY_BROKEN",
                "The body ended before its end.".to_owned(),
            ),
            Self::Overloaded => return overloaded.refusal.clone(),
        };
        Refusal {
            status: status.as_u16(),
            code: code.to_owned(),
            message,
            retry_after_ms: None,
            headers: vec![],
        }
    }
}

/// Reads a body within its limits, in bytes and time; what it has reserved.
/// Its time passes while it arrives, not while it waits for memory.
///
/// # Errors
/// Why it cannot be read.
pub async fn read_body<B>(
    body: B,
    (bytes_max, time_max): (usize, Duration),
    share: Arc<Share>,
) -> Result<(Bytes, Option<Reservation>), BodyError>
where
    B: Body<Data = Bytes, Error: Into<BrokenOff>> + Unpin,
{
    let announced = body.size_hint().exact();
    if announced.is_some_and(|bytes| bytes > bytes_max as u64) {
        return Err(BodyError::TooLarge);
    }
    let announced = announced.and_then(|bytes| usize::try_from(bytes).ok());
    let reserve = async |bytes| {
        let reservation = Arc::clone(&share).reserve(bytes).await;
        reservation.map(Some).ok_or(BodyError::Overloaded)
    };
    let mut body = Limited::new(body, bytes_max);
    // What it may have until it has to reserve more.
    let (mut reserved_bytes, mut reservation) = match announced {
        Some(bytes) => (bytes, reserve(bytes).await?),
        None => (FREE_BYTES, None),
    };
    let mut all = BytesMut::new();
    let mut since = Moment::now();
    loop {
        let left = since.left(time_max).ok_or(BodyError::TooSlow)?;
        let frame = patience::timeout(left, body.frame()).await;
        let Some(frame) = frame.ok_or(BodyError::TooSlow)? else {
            break;
        };
        let piece = match frame {
            Ok(frame) => frame.into_data().unwrap_or_default(),
            Err(error) if error.is::<LengthLimitError>() => return Err(BodyError::TooLarge),
            Err(_) => return Err(BodyError::Broken),
        };
        let bytes = all.len() + piece.len();
        if bytes > reserved_bytes {
            // Twice at most: to what a small one has, and to all that it may
            // become. What waits for more holds less, of another class.
            let waiting = Moment::now();
            let wanted = if bytes <= UNKNOWN_BODY_BYTES {
                UNKNOWN_BODY_BYTES
            } else {
                bytes_max
            };
            reservation = reserve(wanted).await?;
            reserved_bytes = wanted;
            since = since.later(waiting.elapsed());
        }
        all.extend_from_slice(&piece);
    }
    if let Some(reservation) = &mut reservation {
        reservation.shrink(all.len());
    }
    Ok((all.freeze(), reservation))
}

/// A body of which no more than its beginning is read.
pub struct Cut<B> {
    body: B,
    bytes_left: usize,
}

impl<B> Cut<B> {
    /// The first bytes of a body, so many at most.
    #[must_use]
    pub fn new(body: B, bytes_max: usize) -> Self {
        Self {
            body,
            bytes_left: bytes_max,
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Cut<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if self.bytes_left == 0 {
            return Poll::Ready(None);
        }
        Pin::new(&mut self.body).poll_frame(task).map_ok(|frame| {
            frame.map_data(|mut data| {
                data.truncate(self.bytes_left);
                self.bytes_left -= data.len();
                data
            })
        })
    }

    fn size_hint(&self) -> SizeHint {
        let left = self.bytes_left as u64;
        match self.body.size_hint().exact() {
            Some(bytes) => SizeHint::with_exact(bytes.min(left)),
            None => SizeHint::default(),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use futures_util::stream;
    use http_body_util::{Full, StreamBody};

    use super::*;
    use crate::flow::intake::Intake;

    #[tokio::test]
    async fn of_a_body_that_is_cut_the_beginning_is_read() {
        let limits = (6, Duration::from_secs(60));
        let share = || Intake::new(1_000_000).of_store("s");
        for text in ["", "1234", "123456", "1234567", "123456789"] {
            let expected = &text[..text.len().min(6)];
            let whole = Full::new(Bytes::from(text));
            let Ok((read, _)) = read_body(Cut::new(whole, 6), limits, share()).await else {
                panic!("{text}");
            };
            assert_eq!(read, expected);
            let pieces = text.as_bytes().chunks(4).map(Bytes::from_static);
            let pieces = pieces.map(|it| Ok::<_, BrokenOff>(Frame::data(it)));
            let streamed = StreamBody::new(stream::iter(pieces));
            let Ok((read, _)) = read_body(Cut::new(streamed, 6), limits, share()).await else {
                panic!("{text}");
            };
            assert_eq!(read, expected);
        }
    }
}
