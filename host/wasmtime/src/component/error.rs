//! Why a component cannot be served with.

use std::error::Error as StdError;

use thiserror::Error;

/// What an embedder is told before anything is served.
#[derive(Debug, Error)]
pub enum ComponentError {
    /// It is none, none of this contract, or wants what no component gets; or
    /// the machine has no room for it.
    #[error("the component cannot be used")]
    Unusable(#[from] anyhow::Error),
    /// The variables that it reads cannot be found.
    #[error(transparent)]
    Environment(Box<dyn StdError + Send + Sync>),
    /// It refuses its configuration: what to do about it.
    #[error("the configuration cannot be used: {0}")]
    Configuration(String),
}
