//! The services' exports bound to their logic.

use super::bindings::exports::syncline::backend::{images as wit_images, relay as wit_relay};
use super::bindings::syncline::backend::services as wit_services;
use super::{Component, Host, with_config};
use crate::config::Config;
use crate::services::{images, relay};

/// What every service says where the configuration cannot be used: nobody is
/// admitted then, so that nobody comes here.
fn with_usable_config<T>(unusable: impl FnOnce() -> T, use_it: impl FnOnce(&Config) -> T) -> T {
    with_config(|config| match config {
        Ok(config) => use_it(config),
        Err(_) => unusable(),
    })
}

impl wit_images::Guest for Component {
    fn accept(
        context: String,
        body: Result<wit_images::Parts, wit_images::UploadError>,
    ) -> wit_images::Accepted {
        with_usable_config(
            || wit_images::Accepted::Respond(images::unusable()),
            |config| images::accept(&mut Host, config, &context, body),
        )
    }

    fn deliver(
        context: String,
        object: Result<wit_images::Info, wit_images::NoObject>,
    ) -> wit_images::Delivered {
        images::deliver(&context, object)
    }

    fn remove(
        context: String,
        object: Result<wit_images::Info, wit_images::NoObject>,
    ) -> wit_images::Removed {
        images::remove(&context, object)
    }
}

impl wit_relay::Guest for Component {
    fn begin(context: String, body: Result<Vec<u8>, wit_relay::BodyFault>) -> wit_relay::Step {
        with_usable_config(
            || wit_relay::Step::Respond(images::unusable()),
            |config| relay::begin(&mut Host, config, &context, body),
        )
    }

    fn again(context: Vec<u8>) -> wit_relay::Step {
        with_usable_config(
            || wit_relay::Step::Respond(images::unusable()),
            |config| relay::again(&mut Host, config, &context),
        )
    }

    fn failed(context: Vec<u8>, failure: wit_relay::Failure) -> wit_relay::Step {
        with_usable_config(
            || wit_relay::Step::Respond(images::unusable()),
            |config| relay::failed(&mut Host, config, &context, failure),
        )
    }

    fn head_arrived(
        context: Vec<u8>,
        status: u16,
        headers: Vec<(String, String)>,
    ) -> wit_relay::Reading {
        with_usable_config(
            || wit_relay::Reading::Respond(images::unusable()),
            |config| relay::head_arrived(&mut Host, config, &context, status, &headers),
        )
    }

    fn answer(context: Vec<u8>, body: Option<Vec<u8>>) -> wit_services::Response {
        with_usable_config(images::unusable, |config| {
            relay::answer(&mut Host, config, &context, body.as_deref())
        })
    }

    fn piece(context: Vec<u8>, bytes: Vec<u8>) -> wit_relay::Passed {
        with_usable_config(relay::nothing_more, |config| {
            relay::piece(&mut Host, config, &context, &bytes)
        })
    }

    fn end(context: Vec<u8>, ending: wit_relay::Ending) -> Vec<u8> {
        with_usable_config(Vec::new, |config| {
            relay::end(&mut Host, config, &context, ending)
        })
    }
}
