//! WASI, as far as the guest has it: everything but to wait. A thread that
//! waits for a guest's clock is out of reach of the deadline, and the thread of
//! a room has an event loop under it that must not be entered again.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use wasmtime::Result;
use wasmtime::component::{HasData, Linker, Resource, ResourceTable};
use wasmtime_wasi::HostWallClock;
use wasmtime_wasi::p2::bindings::sync::io::poll::{self, HostPollable};
use wasmtime_wasi::p2::bindings::sync::io::streams::{self, HostInputStream, HostOutputStream};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, DynPollable, StreamError, StreamResult};

use super::State;

/// Adds WASI's imports.
pub fn add_to_linker(linker: &mut Linker<State>) -> Result<()> {
    wasmtime_wasi::p2::add_to_linker_sync(linker)?;
    linker.allow_shadowing(true);
    poll::add_to_linker::<State, NoWaiting<'static>>(linker, |state| NoWaiting(&mut state.table))?;
    streams::add_to_linker::<State, NoWaiting<'static>>(linker, |state| {
        NoWaiting(&mut state.table)
    })?;
    linker.allow_shadowing(false);
    Ok(())
}

/// The machine's clock, which need not be set: wasmtime's own panics before
/// 1970. The guest takes 1970 itself for no time.
pub struct WallClock;

impl HostWallClock for WallClock {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(1)
    }

    fn now(&self) -> Duration {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        now.unwrap_or_default()
    }
}

struct NoWaiting<'a>(&'a mut ResourceTable);

impl HasData for NoWaiting<'static> {
    type Data<'a> = NoWaiting<'a>;
}

fn refused() -> wasmtime::Error {
    wasmtime::Error::msg("the guest wants to wait: a turn is straight-line code")
}

impl poll::Host for NoWaiting<'_> {
    fn poll(&mut self, _: Vec<Resource<DynPollable>>) -> Result<Vec<u32>> {
        Err(refused())
    }
}

impl HostPollable for NoWaiting<'_> {
    fn ready(&mut self, _: Resource<DynPollable>) -> Result<bool> {
        Err(refused())
    }

    fn block(&mut self, _: Resource<DynPollable>) -> Result<()> {
        Err(refused())
    }

    fn drop(&mut self, pollable: Resource<DynPollable>) -> Result<()> {
        HostPollable::drop(self.0, pollable)
    }
}

/// The streams that a guest has are its standard ones: an empty input, an
/// output that leads nowhere, and one that leads into the log (`stderr.rs`).
/// Nothing waits at any of them.
impl streams::Host for NoWaiting<'_> {
    fn convert_stream_error(&mut self, error: StreamError) -> Result<streams::StreamError> {
        streams::Host::convert_stream_error(self.0, error)
    }
}

impl HostOutputStream for NoWaiting<'_> {
    fn drop(&mut self, stream: Resource<DynOutputStream>) -> Result<()> {
        self.0.delete(stream)?;
        Ok(())
    }

    fn check_write(&mut self, stream: Resource<DynOutputStream>) -> StreamResult<u64> {
        HostOutputStream::check_write(self.0, stream)
    }

    fn write(&mut self, stream: Resource<DynOutputStream>, bytes: Vec<u8>) -> StreamResult<()> {
        HostOutputStream::write(self.0, stream, bytes)
    }

    fn blocking_write_and_flush(
        &mut self,
        stream: Resource<DynOutputStream>,
        bytes: Vec<u8>,
    ) -> StreamResult<()> {
        HostOutputStream::write(self.0, stream, bytes)
    }

    fn blocking_write_zeroes_and_flush(
        &mut self,
        stream: Resource<DynOutputStream>,
        bytes: u64,
    ) -> StreamResult<()> {
        HostOutputStream::write_zeroes(self.0, stream, bytes)
    }

    fn subscribe(&mut self, stream: Resource<DynOutputStream>) -> Result<Resource<DynPollable>> {
        HostOutputStream::subscribe(self.0, stream)
    }

    fn write_zeroes(&mut self, stream: Resource<DynOutputStream>, bytes: u64) -> StreamResult<()> {
        HostOutputStream::write_zeroes(self.0, stream, bytes)
    }

    fn flush(&mut self, stream: Resource<DynOutputStream>) -> StreamResult<()> {
        HostOutputStream::flush(self.0, stream)
    }

    fn blocking_flush(&mut self, stream: Resource<DynOutputStream>) -> StreamResult<()> {
        HostOutputStream::flush(self.0, stream)
    }

    fn splice(
        &mut self,
        to: Resource<DynOutputStream>,
        from: Resource<DynInputStream>,
        bytes: u64,
    ) -> StreamResult<u64> {
        HostOutputStream::splice(self.0, to, from, bytes)
    }

    fn blocking_splice(
        &mut self,
        to: Resource<DynOutputStream>,
        from: Resource<DynInputStream>,
        bytes: u64,
    ) -> StreamResult<u64> {
        HostOutputStream::splice(self.0, to, from, bytes)
    }
}

impl HostInputStream for NoWaiting<'_> {
    fn drop(&mut self, stream: Resource<DynInputStream>) -> Result<()> {
        self.0.delete(stream)?;
        Ok(())
    }

    fn read(&mut self, stream: Resource<DynInputStream>, bytes: u64) -> StreamResult<Vec<u8>> {
        HostInputStream::read(self.0, stream, bytes)
    }

    fn blocking_read(
        &mut self,
        stream: Resource<DynInputStream>,
        bytes: u64,
    ) -> StreamResult<Vec<u8>> {
        HostInputStream::read(self.0, stream, bytes)
    }

    fn skip(&mut self, stream: Resource<DynInputStream>, bytes: u64) -> StreamResult<u64> {
        HostInputStream::skip(self.0, stream, bytes)
    }

    fn blocking_skip(&mut self, stream: Resource<DynInputStream>, bytes: u64) -> StreamResult<u64> {
        HostInputStream::skip(self.0, stream, bytes)
    }

    fn subscribe(&mut self, stream: Resource<DynInputStream>) -> Result<Resource<DynPollable>> {
        HostInputStream::subscribe(self.0, stream)
    }
}
