//! Bodies of HTTP requests, read within their limits.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::StatusCode;
use hyper::body::{Body, Incoming};

use crate::contract::{Fault, Refusal};
use crate::flow::intake::{FREE_BYTES, Reservation, Share};
use crate::process::patience::{self, Moment};

/// What is reserved for a body that does not say how large it will be, and
/// is larger than a small message, at first, in bytes.
const UNKNOWN_BODY_BYTES: usize = 64 * 1024;

/// Why a body could not be read.
pub enum BodyError {
    TooLarge,
    TooSlow,
    Broken,
    Overloaded,
}

impl BodyError {
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
pub async fn read_body(
    body: Incoming,
    (bytes_max, time_max): (usize, Duration),
    share: Arc<Share>,
) -> Result<(Bytes, Option<Reservation>), BodyError> {
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
