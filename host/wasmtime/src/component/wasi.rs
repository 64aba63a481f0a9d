//! WASI, as far as the guest uses it, which is what Rust's standard library
//! links: a component that imports more does not start. And nobody waits: a
//! thread that waits for a guest's clock is out of reach of the deadline, and
//! the thread of a room has an event loop under it that must not be entered
//! again.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use wasmtime::Result;
use wasmtime::component::{HasData, HasSelf, Linker, Resource, ResourceTable};
use wasmtime_wasi::HostWallClock;
use wasmtime_wasi::cli::{WasiCli, WasiCliView};
use wasmtime_wasi::clocks::{WasiClocks, WasiClocksView};
use wasmtime_wasi::p2::bindings::sync::io::poll::{self, HostPollable};
use wasmtime_wasi::p2::bindings::sync::io::streams::{self, HostInputStream, HostOutputStream};
use wasmtime_wasi::p2::bindings::{cli, clocks, random};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, DynPollable, StreamError, StreamResult};
use wasmtime_wasi::random::{WasiRandom, WasiRandomView};
use wasmtime_wasi_io::bindings::wasi::io::error;

use super::State;
use crate::component::failure::Waits;

/// Adds WASI's imports, one by one: no file and no socket is among them. The
/// terminals, standard input and the monotonic clock are there because the
/// standard library links them: nothing is behind the first two, and nobody
/// can wait for the clock.
pub fn add_to_linker(linker: &mut Linker<State>) -> Result<()> {
    let l = linker;
    cli::environment::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::exit::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::stdin::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::stdout::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::stderr::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::terminal_input::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::terminal_output::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::terminal_stdin::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::terminal_stdout::add_to_linker::<State, WasiCli>(l, State::cli)?;
    cli::terminal_stderr::add_to_linker::<State, WasiCli>(l, State::cli)?;
    clocks::monotonic_clock::add_to_linker::<State, WasiClocks>(l, State::clocks)?;
    clocks::wall_clock::add_to_linker::<State, WasiClocks>(l, State::clocks)?;
    error::add_to_linker::<State, HasSelf<ResourceTable>>(l, |state| &mut state.table)?;
    poll::add_to_linker::<State, NoWaiting<'static>>(l, no_waiting)?;
    streams::add_to_linker::<State, NoWaiting<'static>>(l, no_waiting)?;
    random::random::add_to_linker::<State, WasiRandom>(l, State::random)?;
    random::insecure_seed::add_to_linker::<State, WasiRandom>(l, State::random)
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

fn no_waiting(state: &mut State) -> NoWaiting<'_> {
    NoWaiting(&mut state.table)
}

impl HasData for NoWaiting<'static> {
    type Data<'a> = NoWaiting<'a>;
}

fn refused() -> wasmtime::Error {
    wasmtime::Error::new(Waits)
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;

    use wasmtime::Engine;
    use wasmtime::component::Component;

    use crate::component::code::Code;
    use crate::component::{engine, link};

    /// A component that imports an interface with one function, in bytes.
    fn importer(interface: &str, function: &str) -> Vec<u8> {
        let text = |text: &str| {
            let mut bytes = vec![0, u8::try_from(text.len()).unwrap()];
            bytes.extend(text.as_bytes());
            bytes
        };
        let section = |id: u8, content: Vec<u8>| {
            let mut bytes = vec![id, u8::try_from(content.len()).unwrap()];
            bytes.extend(content);
            bytes
        };
        // An instance of two declarations: the type of a function that takes
        // and gives nothing, and an export of it.
        let instance = [1, 0x42, 2, 1, 0x40, 0, 1, 0, 4];
        let types = [&instance[..], &text(function), &[1, 0]].concat();
        let imports = [&[1][..], &text(interface), &[5, 0]].concat();
        let head = b"\0asm\x0d\0\x01\0".to_vec();
        [head, section(7, types), section(10, imports)].concat()
    }

    #[test]
    fn a_component_that_imports_more_is_refused_by_name() {
        let engine = Engine::new(&engine::config()).unwrap();
        for (interface, function) in [
            ("wasi:sockets/instance-network@0.2.6", "instance-network"),
            ("wasi:filesystem/preopens@0.2.6", "get-directories"),
            ("wasi:random/insecure@0.2.6", "get-insecure-random-u64"),
            ("wasi:http/outgoing-handler@0.2.6", "handle"),
            ("somebody:else/thing@1.0.0", "do-it"),
        ] {
            let component = Component::new(&engine, importer(interface, function)).unwrap();
            let error = link(&engine, &component).err().unwrap();
            let words = format!("{error:#}");
            assert!(words.contains(interface), "{words}");
        }
    }

    #[test]
    fn what_is_offered_is_what_the_guest_imports() {
        let engine = Engine::new(&engine::config()).unwrap();
        let component = Code::embedded(&engine).unwrap().component;
        let unversioned = |name: &str| name.split('@').next().unwrap_or(name).to_owned();
        let imported: BTreeSet<String> = component
            .component_type()
            .imports(&engine)
            .map(|(name, _)| unversioned(name))
            .filter(|name| name.starts_with("wasi:"))
            .collect();
        // Named as they are added, above.
        let source = include_str!("wasi.rs");
        let added = source.split("pub fn add_to_linker").nth(1).unwrap();
        let added = added.split("\n}").next().unwrap();
        for name in &imported {
            let interface = name.rsplit('/').next().unwrap().replace('-', "_");
            assert!(
                added.contains(&format!("{interface}::add_to_linker")),
                "{name}"
            );
        }
        assert_eq!(
            added.matches("::add_to_linker").count(),
            imported.len(),
            "{imported:?}"
        );
    }
}
