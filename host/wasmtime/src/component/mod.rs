//! The component on wasmtime: the engine, what an instance may use, and one
//! module for each WIT import.

mod claims;
mod code;
mod connections;
mod diagnostics;
mod engine;
mod error;
mod event_log;
mod exports;
pub mod failure;
pub mod gateway;
mod limiter;
mod quotas;
mod stderr;
mod telemetry;
mod terms;
mod timer;
pub mod turn;
mod wasi;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use wasmtime::component::{Component, HasSelf, Linker, ResourceTable};
use wasmtime::error::Context;
use wasmtime::{Engine, Store};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

pub use self::claims::ClaimsFile;
use self::code::Code;
pub use self::error::ComponentError;
use self::limiter::Limiter;
use self::stderr::Stderr;
pub use self::terms::Terms;
use crate::component::turn::Turn;
use crate::contract::bindings::{SyncBackend, SyncBackendPre};
use crate::contract::{self, Bounds, Variable};
use crate::process::heap::{self, Trimmer};
use crate::process::patience;
use crate::storage::quotas::Quotas;
use crate::telemetry::Telemetry;
use crate::telemetry::ids::shown;

/// How often running guests are checked against their deadline.
const EPOCH_TICK: Duration = Duration::from_millis(50);

/// What one call may take before it is ended as hanging: 5 s. The longest
/// honest turn, a push of 32 MiB, takes well under one.
const CALL_EPOCHS_MAX: u64 = 100;

/// An instance that grew beyond this is replaced once its turn is over: wasm
/// memory never shrinks, and a room can be rebuilt at any turn's end.
pub const MEMORY_BYTES_KEPT_MAX: usize = 16 * 1024 * 1024;

/// Compiled code and everything instances share.
pub struct Runtime {
    code: Linked,
    compiled: bool,
    terms: Terms,
    env: Vec<(String, String)>,
    given: Given,
}

/// What all instances share of the host's.
#[derive(Clone)]
struct Given {
    claims: Arc<ClaimsFile>,
    quotas: Arc<Quotas>,
    telemetry: Telemetry,
}

/// A component that can be instantiated.
#[derive(Clone)]
struct Linked {
    engine: Engine,
    pre: SyncBackendPre<State>,
}

/// What an instance is for.
#[derive(Clone)]
pub enum Role {
    /// Admission.
    Gateway,
    /// One store's room.
    Room(Arc<str>),
}

/// An instance's side of the imports.
pub struct State {
    wasi: WasiCtx,
    table: ResourceTable,
    claims: Arc<ClaimsFile>,
    quotas: Arc<Quotas>,
    telemetry: Telemetry,
    /// Tokens that relays used, as far as nobody has asked for them.
    tokens_used: u64,
    limiter: Limiter,
    lines: diagnostics::Lines,
    role: Role,
    /// The limits that are kept for it.
    bounds: Bounds,
    /// The turn under way; `None` at the gateway and between turns.
    pub(crate) turn: Option<Turn>,
}

impl Role {
    /// For the log: which instance speaks.
    fn name(&self) -> Cow<'_, str> {
        match self {
            Self::Gateway => Cow::Borrowed("gateway"),
            Self::Room(store) => shown(store),
        }
    }
}

/// Types only.
impl contract::services::Host for State {}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

/// A live instance.
pub struct Instance {
    store: Store<State>,
    bindings: SyncBackend,
}

impl Drop for Instance {
    fn drop(&mut self) {
        heap::instance_gone();
    }
}

impl Runtime {
    /// Loads the built-in component, which the build compiled, or compiles the
    /// one in `file`, and asks it what it needs. `env` finds the variables that
    /// it names; of what that gives, its instances see those and nothing else.
    /// `quotas` are what they count in, `telemetry` what is told of them.
    ///
    /// # Errors
    /// When it is no component, or not one of this world; when it imports what
    /// this host does not offer, or asks for what none is given; when its
    /// variables cannot be found.
    pub fn new<E: Into<Box<dyn StdError + Send + Sync>>>(
        file: Option<&Path>,
        env: impl FnOnce(&[Variable]) -> Result<BTreeMap<String, String>, E>,
        claims: ClaimsFile,
        quotas: Quotas,
        telemetry: Telemetry,
    ) -> Result<Arc<Self>, ComponentError> {
        let given = Given {
            claims: Arc::new(claims),
            quotas: Arc::new(quotas),
            telemetry,
        };
        let (linked, compiled, terms) = load(file, &given)?;
        let mut env =
            env(&terms.variables).map_err(|error| ComponentError::Environment(error.into()))?;
        env.retain(|name, _| terms.variables.iter().any(|it| it.name == *name));
        Ok(Arc::new(Self {
            code: linked,
            compiled,
            terms,
            env: env.into_iter().collect(),
            given,
        }))
    }

    /// The same component with these variables, as far as it reads them.
    #[must_use]
    pub fn with_environment(&self, mut env: BTreeMap<String, String>) -> Arc<Self> {
        env.retain(|name, _| self.terms.variables.iter().any(|it| it.name == *name));
        Arc::new(Self {
            code: self.code.clone(),
            compiled: self.compiled,
            terms: self.terms.clone(),
            env: env.into_iter().collect(),
            given: self.given.clone(),
        })
    }

    /// Whether the component was compiled at the start: the built-in one is
    /// ready to run, unless this machine has no use for what was built.
    #[must_use]
    pub fn was_compiled(&self) -> bool {
        self.compiled
    }

    /// What the component has said of itself.
    #[must_use]
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// What is told of it.
    #[must_use]
    pub fn telemetry(&self) -> &Telemetry {
        &self.given.telemetry
    }

    /// A fresh instance. No files, no sockets: WASI gives it the clock, random
    /// bytes, the variables that it reads and a way to say why it panicked.
    ///
    /// # Errors
    /// When it cannot be instantiated.
    pub(crate) fn instantiate(&self, role: Role) -> Result<Instance> {
        let state = State::new(role, &self.env, self.terms.bounds, self.given.clone());
        self.code.instantiate(state)
    }
}

/// The limits of an instance that nothing is known of.
const NOTHING: Bounds = Bounds {
    attachment_bytes_max: 0,
    reason_bytes_max: 0,
    read_events_max: 0,
    read_bytes_max: 0,
    wake_after_ms_max: 0,
    refused_body_bytes_max: 0,
};

/// Loads a component and asks what it needs; whether it had to be compiled.
fn load(file: Option<&Path>, given: &Given) -> Result<(Linked, bool, Terms)> {
    let engine = Engine::new(&engine::config())?;
    let code = match file {
        None => Code::embedded(&engine)?,
        Some(file) => Code::of_file(&engine, file)?,
    };
    let pre = link(&engine, &code.component)?;
    let ticker = engine.weak();
    std::thread::Builder::new()
        .name("epochs".to_owned())
        .spawn(move || {
            let mut trimmer = Trimmer::new();
            while let Some(engine) = ticker.upgrade() {
                engine.increment_epoch();
                patience::tick();
                drop(engine);
                trimmer.tick();
                std::thread::sleep(EPOCH_TICK);
            }
            patience::end();
        })?;
    let linked = Linked { engine, pre };
    // Before it has said what it needs it has nothing.
    let state = State::new(Role::Gateway, &[], NOTHING, given.clone());
    let terms = Terms::ask(&mut linked.instantiate(state)?)?;
    Ok((linked, code.compiled, terms))
}

/// Gives a component its imports.
fn link(engine: &Engine, component: &Component) -> Result<SyncBackendPre<State>> {
    let mut linker = Linker::new(engine);
    wasi::add_to_linker(&mut linker)?;
    SyncBackend::add_to_linker::<_, HasSelf<_>>(&mut linker, |state: &mut State| state)?;
    let linked = linker
        .instantiate_pre(component)
        .context("the component imports what this host does not offer")?;
    Ok(SyncBackendPre::new(linked).context("the component does not implement wit/world.wit")?)
}

impl State {
    fn new(role: Role, env: &[(String, String)], bounds: Bounds, given: Given) -> Self {
        let Given {
            claims,
            quotas,
            telemetry,
        } = given;
        Self {
            wasi: WasiCtxBuilder::new()
                .wall_clock(wasi::WallClock)
                .stderr(Stderr::new(role.clone()))
                .envs(env)
                .build(),
            table: ResourceTable::new(),
            claims,
            quotas,
            telemetry,
            tokens_used: 0,
            limiter: Limiter::default(),
            lines: diagnostics::Lines::default(),
            role,
            bounds,
            turn: None,
        }
    }
}

impl Linked {
    fn instantiate(&self, state: State) -> Result<Instance> {
        let mut store = Store::new(&self.engine, state);
        store.limiter(|state| &mut state.limiter);
        store.set_epoch_deadline(CALL_EPOCHS_MAX);
        let bindings = self.pre.instantiate(&mut store)?;
        Ok(Instance { store, bindings })
    }
}

impl Instance {
    /// The state, between calls.
    pub fn state(&mut self) -> &mut State {
        self.store.data_mut()
    }

    /// The tokens that relays used since this was asked last.
    pub fn take_tokens_used(&mut self) -> u64 {
        std::mem::take(&mut self.store.data_mut().tokens_used)
    }

    /// Its memory, in bytes.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.store.data().limiter.memory_bytes
    }

    /// Whether it wanted more memory than it may have.
    #[must_use]
    pub fn was_denied_memory(&self) -> bool {
        self.store.data().limiter.was_denied
    }

    /// Whether it has grown too large to keep.
    #[must_use]
    pub fn is_bloated(&self) -> bool {
        self.store.data().limiter.memory_bytes > MEMORY_BYTES_KEPT_MAX
    }
}
