//! The contract (`wit/`) as types.

pub use self::bindings::exports::syncline::backend::gateway::{
    Admission, Bounds, Close, Decision, Entry, Fault, Faults, Refusal, Request, Response, Summary,
    Variable, Verdict,
};
pub use self::bindings::exports::syncline::backend::room::{Answer, Frame, Page};
pub use self::bindings::exports::syncline::backend::{images, relay};
pub use self::bindings::syncline::backend::event_log::{Event, LogInfo, StorageError, StoredEvent};
pub use self::bindings::syncline::backend::{services, telemetry};

// The macro writes what it writes.
#[allow(missing_docs, clippy::all, clippy::pedantic)]
pub mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "sync-backend",
    });
}
