//! How many requests a second a connection and a principal may make in a
//! room. What one may not is refused with a hint when to try again; who goes
//! on regardless is disconnected.

use std::collections::BTreeMap;
use std::time::SystemTime;

use super::Room;
use super::fault::Fault;
use crate::imports::{ConnectionId, Imports};
use crate::limits::{BURST_SECONDS, PRINCIPALS_MAX, REQUEST_BYTES};

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

/// What is left of somebody's requests, in billionths of one. It fills with
/// time up to a burst, and every request takes from it, a refused one too: by
/// as much as it can hold it may be overdrawn.
#[derive(Debug, Clone, Copy)]
pub struct Bucket {
    level: i64,
    at: SystemTime,
}

/// One request, in billionths: so one a second is one billionth a nanosecond.
const REQUEST: i64 = 1_000_000_000;

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
        let gained = i64::try_from(passed.as_nanos())
            .unwrap_or(i64::MAX)
            .saturating_mul(i64::from(rate));
        self.level = self.level.saturating_add(gained).min(Self::capacity(rate));
        self.at = now;
    }

    /// Takes as many requests. What costs more than a whole burst costs that:
    /// however low the rate, it is served in its time.
    fn take(&mut self, requests: u32, rate: u32, now: SystemTime) -> Pace {
        self.fill(rate, now);
        let capacity = Self::capacity(rate);
        if self.level < -capacity {
            return Pace::Flooding;
        }
        let cost = (i64::from(requests) * REQUEST).min(capacity);
        self.level -= cost;
        if self.level >= 0 {
            return Pace::Served;
        }
        let lacking = u64::try_from(cost - self.level).unwrap_or(0);
        let wait_ns = lacking.div_ceil(u64::from(rate).max(1));
        Pace::Refused(wait_ns.div_ceil(1_000_000))
    }

    fn is_full(&self, rate: u32, now: SystemTime) -> bool {
        let mut filled = *self;
        filled.fill(rate, now);
        filled.level >= Self::capacity(rate)
    }
}

/// What principals have left.
pub type Principals = BTreeMap<Box<str>, Bucket>;

/// What the bytes of a message or body cost beside the request that it is.
pub fn requests_of_bytes(bytes: usize) -> u32 {
    u32::try_from(bytes / REQUEST_BYTES).unwrap_or(u32::MAX)
}

impl Room {
    /// Counts a connection's message as so many requests.
    pub(super) fn pace(
        &mut self,
        imports: &mut impl Imports,
        id: ConnectionId,
        requests: u32,
    ) -> Pace {
        if requests == 0 || (self.rates.connection.is_none() && self.rates.principal.is_none()) {
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
                .take(requests, rate, now),
            None => Pace::Served,
        };
        let user_id = connection.user_id.clone();
        own.or(self.pace_of_user(user_id, requests, now))
    }

    /// Counts a request without a connection, whose body has so many bytes.
    pub(super) fn pace_of_request(
        &mut self,
        imports: &mut impl Imports,
        user_id: Option<Box<str>>,
        bytes: usize,
    ) -> Pace {
        if self.rates.principal.is_none() {
            return Pace::Served;
        }
        let requests = requests_of_bytes(bytes).saturating_add(1);
        self.pace_of_user(user_id, requests, imports.now())
    }

    fn pace_of_user(&mut self, user_id: Option<Box<str>>, requests: u32, now: SystemTime) -> Pace {
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
            .take(requests, rate, now)
    }
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
        let serve = || (bucket.take(1, rate, now) == Pace::Served).then_some(());
        std::iter::from_fn(serve).count()
    }

    #[test]
    fn a_burst_is_served_and_then_the_rate() {
        let mut bucket = Bucket::new(10, START);
        assert_eq!(burst(&mut bucket, 10, START), 20);
        // The one that was refused is paid for, too.
        assert_eq!(bucket.take(1, 10, after(199)), Pace::Refused(101));
        assert_eq!(burst(&mut bucket, 10, after(400)), 2);
        assert_eq!(burst(&mut bucket, 10, after(1_000_000)), 20);
    }

    #[test]
    fn the_hint_is_when_the_next_is_served() {
        for requests in [1, 7, 20, 1_000] {
            let mut bucket = Bucket::new(10, START);
            burst(&mut bucket, 10, START);
            let wait = match bucket.take(requests, 10, START) {
                Pace::Refused(wait) => wait,
                other => unreachable!("it is refused, not {other:?}"),
            };
            let mut early = bucket;
            let pace = early.take(requests, 10, after(wait - 1));
            assert!(matches!(pace, Pace::Refused(_)), "{requests}: {pace:?}");
            assert_eq!(bucket.take(requests, 10, after(wait)), Pace::Served);
        }
    }

    #[test]
    fn i7_who_goes_on_regardless_is_flooding() {
        let mut bucket = Bucket::new(10, START);
        let paces: Vec<Pace> = (0..60).map(|_| bucket.take(1, 10, START)).collect();
        let refused = |pace: &&Pace| matches!(pace, Pace::Refused(_));
        assert_eq!(paces.iter().filter(refused).count(), 21);
        assert_eq!(paces.last(), Some(&Pace::Flooding));
    }

    #[test]
    fn time_between_fast_requests_is_not_lost() {
        let mut bucket = Bucket::new(2_000, START);
        for n in 0..150_000_u64 {
            // 1,500 a second: less than a millisecond apart.
            let now = START + Duration::from_nanos(n * 1_000_000_000 / 1_500);
            assert_eq!(bucket.take(1, 2_000, now), Pace::Served, "{n}");
        }
    }

    #[test]
    fn i7_bytes_cost_and_no_message_costs_more_than_a_burst() {
        assert_eq!(requests_of_bytes(REQUEST_BYTES - 1), 0);
        assert_eq!(requests_of_bytes(900_000), 13);
        assert_eq!(requests_of_bytes(32 << 20), 512);
        let mut bucket = Bucket::new(10, START);
        assert_eq!(bucket.take(513, 10, START), Pace::Served);
        assert_eq!(bucket.take(1, 10, START), Pace::Refused(200));
        assert_eq!(bucket.take(513, 10, after(2_100)), Pace::Served);
    }
}
