//! The gateway on this host: a small pool of instances that admit requests,
//! and decide on what the services do.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;

use super::{ComponentError, Instance, Role, Runtime};
use crate::contract::{Decision, Faults, Refusal, Request, Response, Summary};

/// Instances kept for the next request: as many as are busy at once on a
/// small machine. More are made when they are needed.
const POOLED_MAX: usize = 8;

/// Admission.
pub struct Gateway {
    runtime: Arc<Runtime>,
    pool: Mutex<Vec<Instance>>,
}

impl Gateway {
    /// The gateway, and what its configuration amounts to.
    ///
    /// # Errors
    /// When the configuration cannot be worked with: what to do about it.
    pub fn new(runtime: &Arc<Runtime>) -> Result<(Self, Summary), ComponentError> {
        let mut instance = runtime.instantiate(Role::Gateway)?;
        let summary = instance.check()?.map_err(ComponentError::Configuration)?;
        let gateway = Self {
            runtime: Arc::clone(runtime),
            pool: Mutex::new(vec![instance]),
        };
        Ok((gateway, summary))
    }

    /// The headers that admission looks at, lower case.
    #[must_use]
    pub(crate) fn headers_read(&self) -> &[String] {
        &self.runtime.terms().headers_read
    }

    /// What clients are told of what goes wrong in this host.
    #[must_use]
    pub(crate) fn faults(&self) -> &Faults {
        &self.runtime.terms().faults
    }

    /// What [`Self::refuse`] is given of a request's body, in bytes.
    #[must_use]
    pub(crate) fn refused_body_bytes_max(&self) -> usize {
        self.runtime.terms().bounds.refused_body_bytes_max as usize
    }

    /// Decides on a request.
    ///
    /// # Errors
    /// When the guest traps.
    pub(crate) fn admit(&self, request: &Request) -> Result<Decision> {
        self.with(|instance| instance.admit(request))
    }

    /// The answer to a refused HTTP request.
    ///
    /// # Errors
    /// When the guest traps.
    pub(crate) fn refuse(&self, refusal: &Refusal, body: &[u8]) -> Result<Response> {
        self.with(|instance| instance.refuse(refusal, body))
    }

    /// Calls an export of the services. They keep nothing between calls, so
    /// any instance will do.
    ///
    /// # Errors
    /// When the guest traps.
    pub fn with<T>(&self, call: impl FnOnce(&mut Instance) -> Result<T>) -> Result<T> {
        // One that traps is not put back.
        let pooled = self.lock().pop();
        let mut instance = match pooled {
            Some(instance) => instance,
            None => self.runtime.instantiate(Role::Gateway)?,
        };
        // The guest may take its time; other requests go on meanwhile.
        let result = tokio::task::block_in_place(|| call(&mut instance))?;
        let mut pool = self.lock();
        if pool.len() < POOLED_MAX && !instance.is_bloated() {
            pool.push(instance);
        }
        Ok(result)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Instance>> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
