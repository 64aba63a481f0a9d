//! A request's body as it is received. What nobody wants of it is read all the
//! same, or its client, which is still sending, finds the connection reset and
//! never sees the answer.

use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::runtime::Handle;

use crate::process::patience;

/// What is read of a body that nobody wants, in bytes, and for how long: most
/// of what clients send, and not what they send for ever.
const UNWANTED_BYTES_MAX: usize = 32 * 1024 * 1024;
const UNWANTED_TIME_MAX: Duration = Duration::from_secs(5);

/// A body. When it is dropped before its end the rest is read, and thrown
/// away, while its request is answered.
pub struct Received(Option<Incoming>);

impl Received {
    /// What hyper receives.
    #[must_use]
    pub fn new(incoming: Incoming) -> Self {
        Self(Some(incoming))
    }
}

impl Body for Received {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
    ) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        let Some(incoming) = &mut self.0 else {
            return Poll::Ready(None);
        };
        let frame = Pin::new(incoming).poll_frame(task);
        if matches!(frame, Poll::Ready(None | Some(Err(_)))) {
            self.0 = None;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Some(incoming) => incoming.size_hint(),
            None => SizeHint::with_exact(0),
        }
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        let rest = self.0.take().filter(|rest| !rest.is_end_stream());
        if let (Some(rest), Ok(runtime)) = (rest, Handle::try_current()) {
            runtime.spawn(pass_over(rest));
        }
    }
}

/// Reads what nobody wants.
async fn pass_over(mut body: Incoming) {
    let mut left = UNWANTED_BYTES_MAX;
    let reading = pin!(async {
        while let Some(Ok(frame)) = body.frame().await {
            let bytes = frame.data_ref().map_or(0, Bytes::len);
            match left.checked_sub(bytes) {
                Some(rest) => left = rest,
                None => break,
            }
        }
    });
    patience::timeout(UNWANTED_TIME_MAX, reading).await;
}
