//! What a component says of itself before it serves (`wit/gateway.wit`): which
//! variables it reads, which limits its host keeps for it, what clients are
//! told of the host's faults. It is asked once, without an environment, and
//! believed within limits: it need not be the built-in one.

use anyhow::{Context, Result, ensure};

use super::Instance;
use crate::contract::{Bounds, Faults, Variable};

/// Variables of a component. The built-in one has a dozen.
const VARIABLES_MAX: usize = 100;

/// A variable's name, in bytes.
const NAME_BYTES_MAX: usize = 128;

/// The most that any component may ask this host to keep, each with its
/// reason: each is memory or time of the host's.
const CEILINGS: Bounds = Bounds {
    // What Cloudflare keeps of a socket: what works here works deployed (D9).
    attachment_bytes_max: 16_384,
    // RFC 6455: a longer one cannot be sent.
    reason_bytes_max: 123,
    // A read's memory, before the guest has it.
    read_events_max: 10_000,
    read_bytes_max: 32 * 1024 * 1024,
    // A room that waits is one that cannot sleep.
    wake_after_ms_max: 60_000,
    // Anybody may send such a body: some fit what the server has for them.
    refused_body_bytes_max: 4 * 1024 * 1024,
};

/// What a component says of itself.
#[derive(Debug, Clone)]
pub struct Terms {
    /// The variables that it reads.
    pub variables: Vec<Variable>,
    /// The headers that it looks at, lower case.
    pub headers_read: Vec<String>,
    /// The limits that are kept for it.
    pub bounds: Bounds,
    /// What clients are told of what goes wrong here.
    pub faults: Faults,
}

impl Terms {
    /// Asks an instance without an environment.
    ///
    /// # Errors
    /// When it traps, or asks for more than this host gives anybody.
    pub fn ask(instance: &mut Instance) -> Result<Self> {
        let terms = Self {
            variables: instance.variables_read()?,
            headers_read: instance.headers_read()?,
            bounds: instance.bounds_kept()?,
            faults: instance.faults_told()?,
        };
        terms
            .check()
            .context("the component asks for what this host gives to none")?;
        Ok(terms)
    }

    fn check(&self) -> Result<()> {
        let count = self.variables.len();
        ensure!(count <= VARIABLES_MAX, "`variables-read` names {count}");
        for Variable { name, .. } in &self.variables {
            let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            ensure!(
                !name.is_empty() && name.len() <= NAME_BYTES_MAX && name.bytes().all(is_name),
                "`variables-read` has {name:.200?}, which is no variable's name"
            );
        }
        let asked = &self.bounds;
        for (name, bound, ceiling) in [
            (
                "attachment-bytes-max",
                asked.attachment_bytes_max,
                CEILINGS.attachment_bytes_max,
            ),
            (
                "reason-bytes-max",
                asked.reason_bytes_max,
                CEILINGS.reason_bytes_max,
            ),
            (
                "read-events-max",
                asked.read_events_max,
                CEILINGS.read_events_max,
            ),
            (
                "read-bytes-max",
                asked.read_bytes_max,
                CEILINGS.read_bytes_max,
            ),
            (
                "wake-after-ms-max",
                asked.wake_after_ms_max,
                CEILINGS.wake_after_ms_max,
            ),
            (
                "refused-body-bytes-max",
                asked.refused_body_bytes_max,
                CEILINGS.refused_body_bytes_max,
            ),
        ] {
            ensure!(
                bound <= ceiling,
                "`bounds-kept.{name}` is {bound}, and at most {ceiling} is possible"
            );
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::component::{ClaimsFile, Runtime};
    use crate::storage::quotas::Quotas;

    fn of_the_built_in() -> Terms {
        let runtime = Runtime::new(
            None,
            |_| Ok::<_, String>(BTreeMap::new()),
            ClaimsFile::new(None),
            Quotas::new(&crate::storage::Location::Memory),
        );
        runtime.unwrap().terms().clone()
    }

    fn refusal(terms: &Terms) -> String {
        terms.check().unwrap_err().to_string()
    }

    #[test]
    fn bounds_that_are_absurd_are_refused_by_name() {
        let terms = of_the_built_in();
        terms.check().unwrap();
        for (name, set) in [
            (
                "attachment-bytes-max",
                (|it| it.attachment_bytes_max = u32::MAX) as fn(&mut Bounds),
            ),
            ("reason-bytes-max", |it| it.reason_bytes_max = 124),
            ("read-events-max", |it| it.read_events_max = u32::MAX),
            ("read-bytes-max", |it| it.read_bytes_max = u32::MAX),
            ("wake-after-ms-max", |it| it.wake_after_ms_max = u32::MAX),
            ("refused-body-bytes-max", |it| {
                it.refused_body_bytes_max = u32::MAX
            }),
        ] {
            let mut absurd = terms.clone();
            set(&mut absurd.bounds);
            let words = refusal(&absurd);
            assert!(words.contains(name), "{words}");
        }
    }

    #[test]
    fn names_that_are_no_variables_are_refused() {
        let terms = of_the_built_in();
        for name in ["", "A=B", "A\0", "A B", &"x".repeat(129)] {
            let mut absurd = terms.clone();
            absurd.variables[0].name = name.to_owned();
            assert!(refusal(&absurd).contains("no variable's name"), "{name:?}");
        }
        let mut absurd = terms.clone();
        absurd.variables = vec![terms.variables[0].clone(); 101];
        assert!(refusal(&absurd).contains("101"));
    }
}
