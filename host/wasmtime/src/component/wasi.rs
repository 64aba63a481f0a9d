//! WASI, as far as the guest has it: everything but to wait. A thread that
//! waits for a guest's clock is out of reach of the deadline.

use wasmtime::Result;
use wasmtime::component::{HasData, Linker, Resource, ResourceTable};
use wasmtime_wasi::p2::DynPollable;
use wasmtime_wasi::p2::bindings::sync::io::poll::{self, Host, HostPollable};

use super::State;

/// Adds WASI's imports.
pub fn add_to_linker(linker: &mut Linker<State>) -> Result<()> {
    wasmtime_wasi::p2::add_to_linker_sync(linker)?;
    linker.allow_shadowing(true);
    poll::add_to_linker::<State, NoWaiting<'static>>(linker, |state| NoWaiting(&mut state.table))?;
    linker.allow_shadowing(false);
    Ok(())
}

struct NoWaiting<'a>(&'a mut ResourceTable);

impl HasData for NoWaiting<'static> {
    type Data<'a> = NoWaiting<'a>;
}

fn refused() -> wasmtime::Error {
    wasmtime::Error::msg("the guest wants to wait: a turn is straight-line code")
}

impl Host for NoWaiting<'_> {
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
