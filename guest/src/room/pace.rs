//! How many requests a second a connection and a principal may make in a
//! room. What one may not is refused with a hint when to try again; who goes
//! on regardless is disconnected.

use std::collections::BTreeMap;
use std::time::SystemTime;

use super::Room;
use super::fault::Fault;
use crate::imports::{ConnectionId, Imports};
use crate::limits::{
    BURST_SECONDS, CONNECTION_REQUESTS_PER_SECOND, PRINCIPAL_REQUESTS_PER_SECOND, PRINCIPALS_MAX,
};

/// Requests a second; `None` is any number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    /// Of one connection.
    pub connection: Option<u32>,
    /// Of one user in a room, over all connections and over HTTP.
    pub principal: Option<u32>,
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            connection: Some(CONNECTION_REQUESTS_PER_SECOND),
            principal: Some(PRINCIPAL_REQUESTS_PER_SECOND),
        }
    }
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// It is served.
    Served,
    /// It is refused; it is worth another try after this many milliseconds.
    Refused(u64),
    /// It is one of many that were made although they were refused.
    Flooding,
}

impl Pace {
    /// The graver of two.
    fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Flooding, _) | (_, Self::Flooding) => Self::Flooding,
            (Self::Refused(one), Self::Refused(other)) => Self::Refused(one.max(other)),
            (Self::Served, other) => other,
            (one, Self::Served) => one,
        }
    }
}

/// What is left of somebody's requests, in thousandths of one. It fills with
/// time up to a burst, and every request takes from it, a refused one too: by
/// as much as it can hold it may be overdrawn.
#[derive(Debug, Clone, Copy)]
pub struct Bucket {
    level: i64,
    at: SystemTime,
}

/// The reason of the close of who is disconnected.
pub const TOO_MANY_REQUESTS: &str = "TOO_MANY_REQUESTS";

/// One request, in thousandths.
const REQUEST: i64 = 1_000;

impl Bucket {
    fn new(rate: u32, now: SystemTime) -> Self {
        Self {
            level: Self::capacity(rate),
            at: now,
        }
    }

    fn capacity(rate: u32) -> i64 {
        i64::from(rate) * i64::from(BURST_SECONDS) * REQUEST
    }

    fn fill(&mut self, rate: u32, now: SystemTime) {
        // A clock that was set back gives nothing.
        let passed = now.duration_since(self.at).unwrap_or_default();
        // A request a second is a thousandth of one a millisecond.
        let gained = i64::try_from(passed.as_millis())
            .unwrap_or(i64::MAX)
            .saturating_mul(i64::from(rate));
        self.level = self.level.saturating_add(gained).min(Self::capacity(rate));
        self.at = now;
    }

    fn take(&mut self, rate: u32, now: SystemTime) -> Pace {
        self.fill(rate, now);
        if self.level < -Self::capacity(rate) {
            return Pace::Flooding;
        }
        self.level -= REQUEST;
        if self.level >= 0 {
            return Pace::Served;
        }
        let lacking = u64::try_from(REQUEST - self.level).unwrap_or(0);
        Pace::Refused(lacking.div_ceil(u64::from(rate).max(1)))
    }

    fn is_full(&self, rate: u32, now: SystemTime) -> bool {
        let mut filled = *self;
        filled.fill(rate, now);
        filled.level >= Self::capacity(rate)
    }
}

/// What principals have left.
pub type Principals = BTreeMap<Box<str>, Bucket>;

impl Room {
    /// Counts a connection's request.
    pub(super) fn pace(&mut self, imports: &mut impl Imports, id: ConnectionId) -> Pace {
        if self.rates.connection.is_none() && self.rates.principal.is_none() {
            return Pace::Served;
        }
        let now = imports.now();
        let Some(connection) = self.connections.get_mut(&id) else {
            return Pace::Served;
        };
        let own = match self.rates.connection {
            Some(rate) => connection
                .requests
                .get_or_insert_with(|| Bucket::new(rate, now))
                .take(rate, now),
            None => Pace::Served,
        };
        let user_id = connection.user_id.clone();
        own.or(self.pace_of_user(user_id, now))
    }

    /// Counts a request without a connection.
    pub(super) fn pace_of_principal(
        &mut self,
        imports: &mut impl Imports,
        principal: &str,
    ) -> Pace {
        if self.rates.principal.is_none() {
            return Pace::Served;
        }
        let now = imports.now();
        self.pace_of_user(user_id(principal), now)
    }

    fn pace_of_user(&mut self, user_id: Option<Box<str>>, now: SystemTime) -> Pace {
        let (Some(rate), Some(user_id)) = (self.rates.principal, user_id) else {
            return Pace::Served;
        };
        if self.principals.len() >= PRINCIPALS_MAX && !self.principals.contains_key(&user_id) {
            // A full bucket is as good as none.
            self.principals
                .retain(|_, bucket| !bucket.is_full(rate, now));
            if self.principals.len() >= PRINCIPALS_MAX {
                self.principals.pop_first();
            }
        }
        self.principals
            .entry(user_id)
            .or_insert_with(|| Bucket::new(rate, now))
            .take(rate, now)
    }
}

/// The user of a principal; `None` for the server's own, and for everybody
/// where there is no authentication.
pub fn user_id(principal: &str) -> Option<Box<str>> {
    #[derive(serde::Deserialize)]
    struct User {
        #[serde(rename = "userId")]
        user_id: Option<Box<str>>,
    }
    serde_json::from_str::<User>(principal).ok()?.user_id
}

impl From<Pace> for Result<(), Fault> {
    fn from(pace: Pace) -> Self {
        match pace {
            Pace::Served => Ok(()),
            Pace::Refused(retry_after_ms) => Err(Fault::too_many_requests(retry_after_ms)),
            Pace::Flooding => Err(Fault::too_many_requests(u64::from(BURST_SECONDS) * 1_000)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const START: SystemTime = SystemTime::UNIX_EPOCH;

    fn after(ms: u64) -> SystemTime {
        START + Duration::from_millis(ms)
    }

    fn burst(bucket: &mut Bucket, rate: u32, now: SystemTime) -> usize {
        std::iter::from_fn(|| (bucket.take(rate, now) == Pace::Served).then_some(())).count()
    }

    #[test]
    fn a_burst_is_served_and_then_the_rate() {
        let mut bucket = Bucket::new(10, START);
        assert_eq!(burst(&mut bucket, 10, START), 20);
        // The one that was refused is paid for, too.
        assert_eq!(bucket.take(10, after(199)), Pace::Refused(101));
        assert_eq!(burst(&mut bucket, 10, after(400)), 2);
        assert_eq!(burst(&mut bucket, 10, after(1_000_000)), 20);
    }

    #[test]
    fn the_hint_is_when_the_next_is_served() {
        let mut bucket = Bucket::new(10, START);
        burst(&mut bucket, 10, START);
        let wait = match bucket.take(10, START) {
            Pace::Refused(wait) => wait,
            other => unreachable!("it is refused, not {other:?}"),
        };
        let mut early = bucket;
        assert!(matches!(early.take(10, after(wait - 1)), Pace::Refused(_)));
        assert_eq!(bucket.take(10, after(wait)), Pace::Served);
    }

    #[test]
    fn i7_who_goes_on_regardless_is_flooding() {
        let mut bucket = Bucket::new(10, START);
        let paces: Vec<Pace> = (0..60).map(|_| bucket.take(10, START)).collect();
        let refused = |pace: &&Pace| matches!(pace, Pace::Refused(_));
        assert_eq!(paces.iter().filter(refused).count(), 21);
        assert_eq!(paces.last(), Some(&Pace::Flooding));
    }

    #[test]
    fn only_users_are_principals_of_a_room() {
        assert_eq!(
            user_id(r#"{"kind":"user","userId":"u","exp":1}"#).as_deref(),
            Some("u")
        );
        assert_eq!(user_id(r#"{"kind":"server"}"#), None);
        assert_eq!(user_id("null"), None);
    }
}
