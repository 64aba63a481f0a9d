//! The wall clock, as far as it can be believed: a time that no machine shows
//! which is set is an error, not a date.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use humantime::format_rfc3339_millis;

use crate::imports::System;

/// The end of the year 9999, in seconds since 1970: ISO 8601 has four digits,
/// and so have clients.
const SECONDS_MAX: u64 = 253_402_300_799;

/// A time between 1970 and 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Time(SystemTime);

impl Time {
    /// What the clock shows; `None` if that cannot be the time. A host whose
    /// clock is not set, or before 1970, shows 1970 itself.
    pub fn read(system: &mut impl System) -> Option<Self> {
        let now = system.now();
        let since = now.duration_since(UNIX_EPOCH).ok()?;
        let is_set = since > Duration::ZERO && since.as_secs() <= SECONDS_MAX;
        is_set.then_some(Self(now))
    }

    /// Whole seconds since 1970.
    #[must_use]
    pub fn seconds(self) -> u64 {
        // It lies after 1970.
        self.0
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs())
    }

    /// ISO 8601, UTC, milliseconds: `2026-11-22T22:40:50.996Z`.
    #[must_use]
    pub fn iso_8601(self) -> String {
        // It panics beyond the years that `read` admits.
        format_rfc3339_millis(self.0).to_string()
    }
}

/// What the clock shows, in milliseconds since 1970: for how long something
/// takes. A clock that is not set, or is set back, is for the caller to bear.
pub fn milliseconds(system: &mut impl System) -> u64 {
    let since = system.now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    struct Clock(SystemTime);

    impl System for Clock {
        fn now(&mut self) -> SystemTime {
            self.0
        }
        fn random(&mut self, _: &mut [u8]) {}
        fn env(&mut self, _: &str) -> Option<String> {
            None
        }
    }

    #[test]
    fn a_clock_that_is_not_set_is_no_time() {
        let at = |seconds: u64| UNIX_EPOCH + Duration::from_secs(seconds);
        let read = |now: SystemTime| Time::read(&mut Clock(now)).map(Time::iso_8601);
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(read(UNIX_EPOCH - Duration::from_nanos(1)), None);
        assert_eq!(read(UNIX_EPOCH - Duration::from_secs(1 << 40)), None);
        assert_eq!(read(UNIX_EPOCH), None);
        assert_eq!(read(at(1)), text("1970-01-01T00:00:01.000Z"));
        assert_eq!(read(at(SECONDS_MAX)), text("9999-12-31T23:59:59.000Z"));
        let last = at(SECONDS_MAX) + Duration::from_nanos(999_999_999);
        assert_eq!(read(last), text("9999-12-31T23:59:59.999Z"));
        assert_eq!(read(at(SECONDS_MAX + 1)), None);
        assert_eq!(read(at(1 << 50)), None);
        assert_eq!(Time::read(&mut Clock(at(7))).unwrap().seconds(), 7);
    }
}
