//! What the host calls of an instance.

use anyhow::Result;

use super::{CALL_EPOCHS_MAX, Instance};
use crate::contract::{
    Admission, Answer, Bounds, Decision, Faults, Frame, Page, Refusal, Request, Response, Summary,
    Variable, images, relay,
};

/// An export's call, with a fresh deadline.
macro_rules! call {
    ($self:ident, $interface:ident, $function:ident $(, $argument:expr)*) => {{
        $self.store.set_epoch_deadline(CALL_EPOCHS_MAX);
        $self
            .bindings
            .$interface()
            .$function(&mut $self.store $(, $argument)*)
            .map_err(anyhow::Error::from)
    }};
}

/// The exports, as `wit/` describes them, one file an interface. Each
/// fails only by a trap, a deadline or a memory limit; the instance is to be
/// thrown away then.
#[allow(clippy::missing_errors_doc)]
impl Instance {
    /// `gateway.check`.
    pub fn check(&mut self) -> Result<Result<Summary, String>> {
        call!(self, syncline_backend_gateway, call_check)
    }

    /// `gateway.variables-read`.
    pub fn variables_read(&mut self) -> Result<Vec<Variable>> {
        call!(self, syncline_backend_gateway, call_variables_read)
    }

    /// `gateway.bounds-kept`.
    pub fn bounds_kept(&mut self) -> Result<Bounds> {
        call!(self, syncline_backend_gateway, call_bounds_kept)
    }

    /// `gateway.faults-told`.
    pub fn faults_told(&mut self) -> Result<Faults> {
        call!(self, syncline_backend_gateway, call_faults_told)
    }

    /// `gateway.headers-read`.
    pub fn headers_read(&mut self) -> Result<Vec<String>> {
        call!(self, syncline_backend_gateway, call_headers_read)
    }

    /// `gateway.admit`.
    pub fn admit(&mut self, request: &Request) -> Result<Decision> {
        call!(self, syncline_backend_gateway, call_admit, request)
    }

    /// `gateway.refuse`.
    pub fn refuse(&mut self, refusal: &Refusal, body: &[u8]) -> Result<Response> {
        call!(self, syncline_backend_gateway, call_refuse, refusal, body)
    }

    /// `room.start`.
    pub fn start(&mut self, store_id: &str) -> Result<()> {
        call!(self, syncline_backend_room, call_start, store_id)
    }

    /// `room.open`.
    pub fn open(&mut self, connection: u32, admission: &Admission) -> Result<()> {
        call!(
            self,
            syncline_backend_room,
            call_open,
            connection,
            admission
        )
    }

    /// `room.message`.
    pub fn message(&mut self, connection: u32, frame: &Frame) -> Result<()> {
        call!(self, syncline_backend_room, call_message, connection, frame)
    }

    /// `room.drained`.
    pub fn drained(&mut self, connection: u32) -> Result<()> {
        call!(self, syncline_backend_room, call_drained, connection)
    }

    /// `room.wake`.
    pub fn wake(&mut self) -> Result<()> {
        call!(self, syncline_backend_room, call_wake)
    }

    /// `room.closed`.
    pub fn closed(&mut self, connection: u32) -> Result<()> {
        call!(self, syncline_backend_room, call_closed, connection)
    }

    /// `room.request`.
    pub fn request(&mut self, admission: &Admission, body: &[u8]) -> Result<Answer> {
        call!(self, syncline_backend_room, call_request, admission, body)
    }

    /// `room.resume`.
    pub fn resume(&mut self, continuation: &str) -> Result<Page> {
        call!(self, syncline_backend_room, call_resume, continuation)
    }

    /// `images.accept`.
    pub fn accept(
        &mut self,
        context: &str,
        body: Result<&images::Parts, images::UploadError>,
    ) -> Result<images::Accepted> {
        call!(self, syncline_backend_images, call_accept, context, body)
    }

    /// `images.deliver`.
    pub fn deliver(
        &mut self,
        context: &str,
        object: Result<&images::Info, images::NoObject>,
    ) -> Result<images::Delivered> {
        call!(self, syncline_backend_images, call_deliver, context, object)
    }

    /// `images.remove`.
    pub fn remove(
        &mut self,
        context: &str,
        object: Result<&images::Info, images::NoObject>,
    ) -> Result<images::Removed> {
        call!(self, syncline_backend_images, call_remove, context, object)
    }

    /// `relay.begin`.
    pub fn begin(
        &mut self,
        context: &str,
        body: Result<&[u8], relay::BodyFault>,
    ) -> Result<relay::Step> {
        call!(self, syncline_backend_relay, call_begin, context, body)
    }

    /// `relay.again`.
    pub fn again(&mut self, context: &relay::Context) -> Result<relay::Step> {
        call!(self, syncline_backend_relay, call_again, context)
    }

    /// `relay.failed`.
    pub fn failed(
        &mut self,
        context: &relay::Context,
        failure: relay::Failure,
    ) -> Result<relay::Step> {
        call!(self, syncline_backend_relay, call_failed, context, failure)
    }

    /// `relay.head-arrived`.
    pub fn head_arrived(
        &mut self,
        context: &relay::Context,
        status: u16,
        headers: &[(String, String)],
    ) -> Result<relay::Reading> {
        call!(
            self,
            syncline_backend_relay,
            call_head_arrived,
            context,
            status,
            headers
        )
    }

    /// `relay.answer`.
    pub fn answer(&mut self, context: &relay::Context, body: Option<&[u8]>) -> Result<Response> {
        call!(self, syncline_backend_relay, call_answer, context, body)
    }

    /// `relay.piece`.
    pub fn piece(&mut self, context: &relay::Context, bytes: &[u8]) -> Result<relay::Passed> {
        call!(self, syncline_backend_relay, call_piece, context, bytes)
    }

    /// `relay.end`.
    pub fn end(&mut self, context: &relay::Context, ending: relay::Ending) -> Result<Vec<u8>> {
        call!(self, syncline_backend_relay, call_end, context, ending)
    }
}
