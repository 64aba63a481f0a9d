//! The real component with a will to do harm. It serves as ever until it is
//! told to misbehave: by a frame, body or path that begins with `hostile:`
//! and a [`Misdeed`].
#![cfg(target_family = "wasm")]

mod misdeed;

use syncline_guest::component::Component;
use syncline_guest::component::bindings;
use syncline_guest::component::bindings::exports::syncline::backend::{
    gateway, images, relay, room,
};

use self::misdeed::Misdeed;

struct Hostile;

bindings::export!(Hostile with_types_in bindings);

impl gateway::Guest for Hostile {
    fn variables_read() -> Vec<gateway::Variable> {
        <Component as gateway::Guest>::variables_read()
    }

    fn bounds_kept() -> gateway::Bounds {
        <Component as gateway::Guest>::bounds_kept()
    }

    fn faults_told() -> gateway::Faults {
        <Component as gateway::Guest>::faults_told()
    }

    /// Says what it can see of the environment.
    fn check() -> Result<gateway::Summary, String> {
        let mut summary = <Component as gateway::Guest>::check()?;
        let mut names: Vec<String> = std::env::vars().map(|(name, _)| name).collect();
        names.sort();
        summary.warnings.push(format!("it sees {names:?}"));
        Ok(summary)
    }

    fn headers_read() -> Vec<String> {
        <Component as gateway::Guest>::headers_read()
    }

    fn admit(request: gateway::Request) -> gateway::Decision {
        if let Some(misdeed) = Misdeed::of(request.path.trim_start_matches('/')) {
            misdeed.commit(&[]);
        }
        <Component as gateway::Guest>::admit(request)
    }

    fn admit_call(body: Vec<u8>) -> Result<gateway::Admission, gateway::Denial> {
        <Component as gateway::Guest>::admit_call(body)
    }

    fn refuse(refusal: gateway::Refusal, body: Vec<u8>) -> gateway::Response {
        // The answer to a room's fault is made of the body that caused it.
        if refusal.code != "UNAVAILABLE"
            && let Some(misdeed) = Misdeed::of_bytes(&body)
        {
            misdeed.commit(&[]);
        }
        <Component as gateway::Guest>::refuse(refusal, body)
    }
}

impl room::Guest for Hostile {
    fn start(store_id: String) {
        if let Some(misdeed) = Misdeed::of(&store_id) {
            misdeed.commit(&[]);
        }
        <Component as room::Guest>::start(store_id);
    }

    fn open(connection: u32, admission: room::Admission) {
        <Component as room::Guest>::open(connection, admission);
    }

    fn message(connection: u32, frame: room::Frame) {
        if let room::Frame::Text(text) = &frame
            && let Some((misdeed, first)) = Misdeed::after(text)
        {
            // What the frame asks for beside is done first: none of it may
            // outlive the turn.
            if !first.is_empty() {
                let first = room::Frame::Text(first.to_owned());
                <Component as room::Guest>::message(connection, first);
            }
            misdeed.commit(&[connection]);
        }
        <Component as room::Guest>::message(connection, frame);
    }

    fn drained(connection: u32) {
        <Component as room::Guest>::drained(connection);
    }

    fn delivered(connection: u32) {
        <Component as room::Guest>::delivered(connection);
    }

    fn wake() {
        <Component as room::Guest>::wake();
    }

    fn closed(connection: u32) {
        <Component as room::Guest>::closed(connection);
    }

    fn request(admission: room::Admission, body: Vec<u8>) -> room::Answer {
        if let Some(misdeed) = Misdeed::of_bytes(&body) {
            misdeed.commit(&[]);
        }
        <Component as room::Guest>::request(admission, body)
    }

    fn resume(continuation: String) -> room::Page {
        <Component as room::Guest>::resume(continuation)
    }
}

impl images::Guest for Hostile {
    fn accept(
        context: String,
        body: Result<images::Parts, images::UploadError>,
    ) -> images::Accepted {
        <Component as images::Guest>::accept(context, body)
    }

    fn deliver(
        context: String,
        object: Result<images::Info, images::NoObject>,
    ) -> images::Delivered {
        <Component as images::Guest>::deliver(context, object)
    }

    fn remove(context: String, object: Result<images::Info, images::NoObject>) -> images::Removed {
        <Component as images::Guest>::remove(context, object)
    }
}

impl relay::Guest for Hostile {
    fn begin(context: String, body: Result<Vec<u8>, relay::BodyFault>) -> relay::Step {
        <Component as relay::Guest>::begin(context, body)
    }

    fn again(context: relay::Context) -> relay::Step {
        <Component as relay::Guest>::again(context)
    }

    fn failed(context: relay::Context, failure: relay::Failure) -> relay::Step {
        <Component as relay::Guest>::failed(context, failure)
    }

    fn head_arrived(
        context: relay::Context,
        status: u16,
        headers: Vec<(String, String)>,
    ) -> relay::Reading {
        <Component as relay::Guest>::head_arrived(context, status, headers)
    }

    fn answer(context: relay::Context, body: Option<Vec<u8>>) -> relay::Response {
        <Component as relay::Guest>::answer(context, body)
    }

    fn piece(context: relay::Context, bytes: Vec<u8>) -> relay::Passed {
        <Component as relay::Guest>::piece(context, bytes)
    }

    fn end(context: relay::Context, ending: relay::Ending) -> Vec<u8> {
        <Component as relay::Guest>::end(context, ending)
    }
}
