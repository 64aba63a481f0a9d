//! The `quotas` import, for the gateway's instances.

use std::sync::Arc;

use super::{Role, State};
use crate::contract::bindings::syncline::backend::quotas::{Denied, Host};
use crate::storage::quotas::{self, Quotas};

impl State {
    /// What is counted in. A room counts nothing: its turns are not to wait
    /// for a file that is not its store's.
    fn quotas(&self) -> Result<Arc<Quotas>, Denied> {
        match self.role {
            Role::Gateway => Ok(Arc::clone(&self.quotas)),
            Role::Room(_) => Err(Denied::Unavailable("a room has no quotas".to_owned())),
        }
    }
}

impl From<quotas::Denied> for Denied {
    fn from(denied: quotas::Denied) -> Self {
        match denied {
            quotas::Denied::Exhausted { retry_after_ms } => Self::Exhausted(retry_after_ms),
            quotas::Denied::Unavailable(error) => Self::Unavailable(error.to_string()),
        }
    }
}

impl Host for State {
    fn take(
        &mut self,
        user: String,
        counter: String,
        amount: u64,
        max: u64,
        window_ms: u64,
    ) -> Result<(), Denied> {
        let quotas = self.quotas()?;
        Ok(quotas.take((&user, &counter), amount, max, window_ms)?)
    }

    fn add(
        &mut self,
        user: String,
        counter: String,
        amount: u64,
        window_ms: u64,
    ) -> Result<(), Denied> {
        let quotas = self.quotas()?;
        Ok(quotas.add((&user, &counter), amount, window_ms)?)
    }

    fn hold(
        &mut self,
        user: String,
        counter: String,
        max: u32,
        lease_ms: u64,
    ) -> Result<u64, Denied> {
        let quotas = self.quotas()?;
        Ok(quotas.hold((&user, &counter), max, lease_ms)?)
    }

    fn let_go(&mut self, user: String, counter: String, place: u64) -> Result<(), Denied> {
        let quotas = self.quotas()?;
        Ok(quotas.let_go((&user, &counter), place)?)
    }
}
