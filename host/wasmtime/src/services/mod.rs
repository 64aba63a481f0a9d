//! The services beside sync: images, the LLM proxy, the app. The guest decides
//! (`wit/services.wit`); here it is carried out: an object store, calls of
//! another server, files. Nothing here knows what they are for.

pub mod assets;
mod images;
pub mod objects;
mod ranges;
mod relay;
mod upload;
mod upstream;
mod watched;

use std::sync::Arc;
use std::time::Duration;

use hyper::{Request, StatusCode};
use opentelemetry::trace::SpanContext;
use serde::Deserialize;
use tracing::error;

use self::assets::Assets;
use self::images::Images;
use self::objects::Objects;
use self::relay::Relays;
use crate::component::gateway::Gateway;
use crate::contract;
use crate::contract::services::Service;
use crate::exchange::answer::{Response, http_response, with_head};
use crate::exchange::received::Received;
use crate::telemetry::outward::Within;
use crate::telemetry::peer::Peer;
use crate::telemetry::refusals::Refusals;

/// What a server has for its services. The guest is told of it (`HOST_IMAGES`,
/// `HOST_ASSETS`), and asks for nothing that is not there.
#[derive(Default)]
pub struct Equipment {
    /// `--images`.
    pub objects: Option<Objects>,
    /// `--assets`.
    pub assets: Option<Assets>,
}

/// The services.
pub struct Services {
    images: Option<Images>,
    relays: Relays,
    assets: Option<Assets>,
    guest: Guest,
}

/// What answers come from, and who is told of those that refuse.
#[derive(Clone)]
struct Guest {
    gateway: Arc<Gateway>,
    refusals: Arc<Refusals>,
}

impl Services {
    /// Services with this equipment. `message_timeout` is how long a body may
    /// take to arrive.
    #[must_use]
    pub fn new(
        gateway: Arc<Gateway>,
        refusals: Arc<Refusals>,
        equipment: Equipment,
        message_timeout: Duration,
    ) -> Self {
        let objects = equipment.objects;
        Self {
            images: objects.map(|objects| Images::new(objects, message_timeout)),
            relays: Relays::new(message_timeout),
            assets: equipment.assets,
            guest: Guest { gateway, refusals },
        }
    }

    /// Carries a decision out. `parent` is the request's span, if it has one.
    pub async fn serve(
        &self,
        service: Service,
        request: Request<Received>,
        peer: &Peer,
        parent: Option<SpanContext>,
    ) -> Response {
        let guest = &self.guest;
        let about = (peer, Within::new(guest.refusals.telemetry(), parent));
        match (service, &self.images, &self.assets) {
            (Service::Upload(upload), Some(images), _) => {
                images.upload(guest, upload, request, about).await
            }
            (Service::Deliver(object), Some(images), _) => {
                images.deliver(guest, object, about).await
            }
            (Service::Remove(object), Some(images), _) => images.remove(guest, object, about).await,
            (Service::Relay(relay), _, _) => self.relays.relay(guest, relay, request, about).await,
            (Service::Asset(asset), _, Some(assets)) => assets.serve(asset, &request).await,
            _ => guest.failed("it asks for what this server does not have", vec![]),
        }
    }
}

impl Guest {
    /// The guest's answer, which is in the log if it refuses something.
    fn answer(&self, response: contract::Response, peer: &Peer) -> Response {
        if response.status >= StatusCode::BAD_REQUEST.as_u16() {
            let (code, why) = told(&response.body);
            self.refusals
                .refused(peer, None, &code, Some(response.status), &why);
        }
        http_response(response)
    }

    /// The guest, or what there is for it, failed.
    fn failed(&self, error: impl std::fmt::Display, headers: Vec<(String, String)>) -> Response {
        error!(
            event = "gateway_failed",
            "the gateway failed at a service: {error:#}"
        );
        with_head(StatusCode::INTERNAL_SERVER_ERROR, headers, "")
    }
}

/// The code and the words of a refusal, in either of the forms that the guest
/// has for services' clients. For the log only.
fn told(body: &str) -> (String, String) {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Told {
        Api { error: String, code: String },
        OpenAi { error: OpenAi },
    }
    #[derive(Deserialize)]
    struct OpenAi {
        message: String,
        code: String,
    }
    match serde_json::from_str(body) {
        Ok(
            Told::Api { error, code }
            | Told::OpenAi {
                error:
                    OpenAi {
                        message: error,
                        code,
                    },
            },
        ) => (code, error),
        Err(_) => {
            let why = "The service refuses it: its answer says why.";
            ("BY_SERVICE".to_owned(), why.to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::told;

    #[test]
    fn a_refusals_code_is_read_in_both_forms() {
        for (body, code) in [
            (r#"{"error":"why","code":"NO_FILE"}"#, "NO_FILE"),
            (
                r#"{"error":{"message":"why","type":"t","code":"QUOTA_EXCEEDED","param":null}}"#,
                "QUOTA_EXCEEDED",
            ),
            ("no JSON", "BY_SERVICE"),
            ("{}", "BY_SERVICE"),
        ] {
            assert_eq!(told(body).0, code, "{body}");
        }
    }
}
