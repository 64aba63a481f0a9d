//! Images, as the guest decides on them (`wit/images.wit`).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;
use http_body_util::{BodyExt, StreamBody};
use hyper::Request;
use hyper::body::Frame;
use hyper::header::{CONTENT_LENGTH, HeaderValue};
use tokio::sync::Semaphore;
use tracing::error;

use super::Guest;
use super::objects::{Objects, ObjectsError};
use super::upload::{self, Uploaded};
use super::watched::watched;
use crate::contract::images::{
    Accepted, Delivered, Delivery, Info, NoObject, Removed, Storing, UploadError,
};
use crate::contract::services::{Object, Upload};
use crate::exchange::answer::{Response, response, status_of, with_head};
use crate::exchange::received::Received;
use crate::flow::intake::{Intake, Reservation};
use crate::telemetry::outward::{Outward, Service, Within};
use crate::telemetry::peer::Peer;

/// What files may take in memory, from their first byte until they are
/// stored, in bytes. Apart from sync's bodies, so that none of those waits for
/// an image; of those of 4 MiB or more there is room for eight.
const BYTES_MAX: usize = 128 * 1024 * 1024;

/// Uploads under way, those that wait for memory among them: one more is told
/// to come back.
const UPLOADS_MAX: usize = 100;

/// The images.
pub struct Images {
    objects: Arc<Objects>,
    intake: Arc<Intake>,
    under_way: Semaphore,
    message_timeout: Duration,
}

impl Images {
    /// Images in this store. `message_timeout` is how long an upload may take
    /// to arrive.
    pub fn new(objects: Objects, message_timeout: Duration) -> Self {
        Self {
            objects: Arc::new(objects),
            intake: Intake::new(BYTES_MAX),
            under_way: Semaphore::new(UPLOADS_MAX),
            message_timeout,
        }
    }

    /// Reads a file and stores it.
    pub async fn upload(
        &self,
        guest: &Guest,
        upload: Upload,
        request: Request<Received>,
        (peer, within): (&Peer, Within),
    ) -> Response {
        // Its memory is given back when the file is stored.
        let (body, bytes, reservation) = match self.read(&upload, request, peer).await {
            Ok(Uploaded {
                parts,
                bytes,
                reservation,
            }) => (Ok(parts), bytes, Some(reservation)),
            Err(error) => (Err(error), Bytes::new(), None),
        };
        let context = &upload.context;
        let accepted = guest
            .gateway
            .with(|it| it.accept(context, body.as_ref().map_err(|error| *error)));
        match accepted {
            Ok(Accepted::Respond(response)) => guest.answer(response, peer),
            Ok(Accepted::Store(storing)) => {
                let call = self.call(&within, Service::ImageUpload);
                let objects = Arc::clone(&self.objects);
                let stored = store(objects, storing, bytes, (reservation, call)).await;
                match stored {
                    Some(response) => guest.answer(response, peer),
                    None => guest.failed("storing an image", upload.headers),
                }
            }
            Err(error) => guest.failed(error, upload.headers),
        }
    }

    async fn read(
        &self,
        upload: &Upload,
        request: Request<Received>,
        peer: &Peer,
    ) -> Result<Uploaded, UploadError> {
        let _place = self
            .under_way
            .try_acquire()
            .map_err(|_| UploadError::Busy)?;
        // Whoever uploads much keeps himself waiting first. Behind a proxy
        // that is everybody who comes by it.
        let share = self.intake.of_store(&peer.address.ip().to_string());
        let (head, body) = request.into_parts();
        upload::read(upload, &head.headers, body, share, self.message_timeout).await
    }

    /// Answers with an object.
    pub async fn deliver(
        &self,
        guest: &Guest,
        object: Object,
        (peer, within): (&Peer, Within),
    ) -> Response {
        let Object {
            context,
            key,
            headers,
        } = object;
        let info = self.info(&key, &within, Service::ImageDeliver).await;
        let deliver =
            |info: Result<&Info, NoObject>| guest.gateway.with(|it| it.deliver(&context, info));
        let delivery = match deliver(info.as_ref().map_err(|error| *error)) {
            Ok(Delivered::Deliver(delivery)) => delivery,
            Ok(Delivered::Respond(response)) => return guest.answer(response, peer),
            Err(error) => return guest.failed(error, headers),
        };
        let Delivery { head, part } = delivery;
        let status = status_of(head.status);
        let Some(part) = part.filter(|part| part.length > 0) else {
            return with_head(status, head.headers, "");
        };
        let range = part.start..part.start.saturating_add(part.length);
        let mut call = self.call(&within, Service::ImageDeliver);
        let read = watched(&mut call, self.objects.read(&key, range));
        match read.await {
            Ok(pieces) => {
                // The call is over when the pieces are.
                let pieces = pieces.inspect_err(move |_| {
                    if let Some(call) = &mut call {
                        call.failed("broken");
                    }
                });
                let body = StreamBody::new(pieces.map_ok(Frame::data).map_err(Into::into));
                let mut answer = response(status, head.headers, body.boxed_unsync());
                let length = HeaderValue::from(part.length);
                answer.headers_mut().insert(CONTENT_LENGTH, length);
                answer
            }
            Err(error) => match deliver(Err(reason(&error))) {
                Ok(Delivered::Respond(response)) => guest.answer(response, peer),
                Ok(Delivered::Deliver(_)) => guest.failed(error, headers),
                Err(error) => guest.failed(error, headers),
            },
        }
    }

    /// Deletes an object.
    pub async fn remove(
        &self,
        guest: &Guest,
        object: Object,
        (peer, within): (&Peer, Within),
    ) -> Response {
        let info = self.info(&object.key, &within, Service::ImageRemove).await;
        let info = info.as_ref().map_err(|error| *error);
        let removed = guest.gateway.with(|it| it.remove(&object.context, info));
        match removed {
            Ok(Removed::Respond(response)) => guest.answer(response, peer),
            Ok(Removed::Remove(removing)) => {
                let mut call = self.call(&within, Service::ImageRemove);
                let gone = watched(&mut call, self.objects.remove(&object.key));
                let response = match gone.await {
                    Ok(()) => removing.removed,
                    Err(error) => {
                        error!(
                            event = "image_failed",
                            "an image cannot be deleted: {error}"
                        );
                        removing.failed
                    }
                };
                guest.answer(response, peer)
            }
            Err(error) => guest.failed(error, object.headers),
        }
    }

    /// The object store is asked for something.
    fn call(&self, within: &Within, service: Service) -> Option<Outward> {
        within.call(service, self.objects.is_remote())
    }

    async fn info(&self, key: &str, within: &Within, service: Service) -> Result<Info, NoObject> {
        let mut call = self.call(within, service);
        let info = watched(&mut call, self.objects.info(key)).await;
        info.map_err(|error| reason(&error))
    }
}

/// Why there is no object; for the operator's log, if he can help.
fn reason(error: &ObjectsError) -> NoObject {
    if error.is_missing() {
        return NoObject::Missing;
    }
    error!(event = "image_failed", "an image cannot be read: {error}");
    NoObject::Unavailable
}

/// Stores a file, whether or not its client waits for it: half of it would be
/// left. `None` when that panicked.
async fn store(
    objects: Arc<Objects>,
    storing: Storing,
    bytes: Bytes,
    (reservation, mut call): (Option<Reservation>, Option<Outward>),
) -> Option<crate::contract::Response> {
    let storing = tokio::spawn(async move {
        let Storing {
            key,
            content_type,
            metadata,
            stored,
            failed,
        } = storing;
        let put = objects.put(&key, &content_type, metadata, bytes);
        let put = watched(&mut call, put).await;
        drop((reservation, call));
        match put {
            Ok(()) => stored,
            Err(error) => {
                error!(event = "image_failed", "an image cannot be stored: {error}");
                failed
            }
        }
    });
    storing.await.ok()
}
