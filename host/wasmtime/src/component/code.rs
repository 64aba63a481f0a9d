//! A component's code: the built-in one's, which the build compiled, or what
//! is compiled now.

use std::path::Path;

use anyhow::Result;
use tracing::warn;
use wasmtime::Engine;
use wasmtime::component::Component;
use wasmtime::error::Context;

/// The component that the build made.
static EMBEDDED: &[u8] = include_bytes!(env!("SYNCLINE_COMPONENT"));

/// The same, compiled by the build for any CPU of the target; empty where the
/// build could not, for a target of another architecture than its own.
static READY: &[u8] = include_bytes!(env!("SYNCLINE_COMPONENT_READY"));

/// A component that can be linked.
pub struct Code {
    /// It.
    pub component: Component,
    /// Whether it was compiled now, which takes the better part of a second.
    pub compiled: bool,
}

impl Code {
    /// The built-in component. As the build compiled it, or compiled again
    /// where this engine has no use for that: the log says why.
    ///
    /// # Errors
    /// When it does not compile.
    pub fn embedded(engine: &Engine) -> Result<Self> {
        match ready(engine) {
            Ok(component) => Ok(Self {
                component,
                compiled: false,
            }),
            Err(error) => {
                warn!("the built-in component is compiled again: {error:#}");
                Ok(Self {
                    component: Component::new(engine, EMBEDDED)
                        .context("the embedded component")?,
                    compiled: true,
                })
            }
        }
    }

    /// The component in `file`, in WebAssembly's binary or text format.
    ///
    /// # Errors
    /// When it cannot be read, or is no component.
    pub fn of_file(engine: &Engine, file: &Path) -> Result<Self> {
        Ok(Self {
            component: Component::from_file(engine, file)
                .with_context(|| format!("--component {}", file.display()))?,
            compiled: true,
        })
    }
}

/// What the build compiled, if this engine can run it.
fn ready(engine: &Engine) -> wasmtime::Result<Component> {
    if READY.is_empty() {
        wasmtime::bail!("it was built on another architecture");
    }
    // SAFETY: wasmtime runs what it is given here, so it has to be what
    // `Engine::precompile_component` returned, unchanged. `READY` is: the
    // build script writes nothing else there, and it is part of the program
    // like the code that is reading it. Nobody can put another in its place
    // who could not replace the program: no argument, file or variable leads
    // here. That it is of this wasmtime, of these settings and for this CPU is
    // not promised but checked by wasmtime, and an error if not.
    #[allow(unsafe_code)]
    unsafe {
        Component::deserialize(engine, READY)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::component::{ClaimsFile, Runtime, engine};
    use crate::storage::Location;
    use crate::storage::quotas::Quotas;

    fn was_compiled(file: Option<&Path>) -> bool {
        Runtime::new(
            file,
            |_| Ok::<_, String>(BTreeMap::new()),
            ClaimsFile::new(None),
            Quotas::new(&Location::Memory),
        )
        .unwrap()
        .was_compiled()
    }

    #[test]
    fn the_built_in_component_is_ready_and_another_is_compiled() {
        assert!(!was_compiled(None));
        assert!(was_compiled(Some(Path::new(env!("SYNCLINE_COMPONENT")))));
    }

    #[test]
    fn it_is_ready_for_a_cpu_without_any_extension() {
        let mut config = engine::config();
        config.target(env!("SYNCLINE_TARGET")).unwrap();
        // SAFETY: to know of no extension is never wrong.
        #[allow(unsafe_code)]
        unsafe {
            config.detect_host_feature(|_| Some(false));
        }
        let engine = Engine::new(&config).unwrap();
        assert!(!Code::embedded(&engine).unwrap().compiled);
    }

    #[test]
    fn it_is_compiled_where_what_is_ready_is_refused() {
        let mut config = engine::config();
        config.epoch_interruption(false);
        let engine = Engine::new(&config).unwrap();
        assert!(ready(&engine).is_err());
        let code = Code::embedded(&engine).unwrap();
        assert!(code.compiled);
        let exports: Vec<_> = code
            .component
            .component_type()
            .exports(&engine)
            .map(|(name, _)| name.to_owned())
            .collect();
        assert!(
            exports
                .iter()
                .any(|name| name.contains("syncline:backend/room")),
            "{exports:?}"
        );
    }
}
