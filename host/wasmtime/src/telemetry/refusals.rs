//! What the log says of those who are turned away: requests that are refused,
//! and sockets that the server closes. The first of a kind is a line at once;
//! those that follow are summed up, so that nobody fills the log, or memory,
//! by being refused.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::info;

use crate::telemetry::Telemetry;
use crate::telemetry::ids::shown;
use crate::telemetry::life::Traffic;
use crate::telemetry::peer::{Peer, bounded};

/// For how long those that follow the first of a kind are summed up in a line.
const PERIOD: Duration = Duration::from_secs(10);

/// How often it is looked whose time has come.
const LOOK: Duration = Duration::from_secs(1);

/// Kinds that are told apart by their store, at once. A client may name as
/// many stores as it likes: those of more are told apart by their code only.
const STORES_MAX: usize = 16;

/// Kinds at once, in all: there are about forty codes, as long as the
/// component is the one that was built with this.
const KINDS_MAX: usize = 64;

/// Of a store's id, in characters: as long as one may be.
const STORE_CHARS_MAX: usize = 512;

/// Of a code, or of why, in characters.
const WORDS_CHARS_MAX: usize = 256;

/// The close of all sockets of a server that stops: one line for all of them.
const RESTART: u16 = 1012;

/// How somebody was turned away.
#[derive(Debug, Clone)]
pub enum How {
    /// A request was refused.
    Refused {
        /// `TOKEN_MISSING`, … as PROTOCOL.md lists them.
        code: String,
        /// What the client was told, if anything: an HTTP status, or a close
        /// code.
        answer: Option<u16>,
    },
    /// A socket that was let in was closed.
    Closed {
        /// The close code.
        code: u16,
        /// How long it lived.
        lived: Duration,
        /// What it brought and took.
        traffic: Traffic,
    },
}

/// Somebody who was turned away.
#[derive(Debug, Clone)]
pub struct Refusal {
    how: How,
    store: Option<String>,
    why: String,
    peer: Peer,
}

/// What is counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Kind {
    /// The refusal's code, or a close's code and reason; empty for all that
    /// find no place of their own.
    what: String,
    /// `None` for all stores of this code.
    store: Option<String>,
}

/// Those of a kind that are not in the log yet.
struct Sum {
    since: Instant,
    times: u64,
    last: Refusal,
}

/// A line of the log: how often, and the last of them.
#[derive(Debug)]
struct Line {
    /// `None` for one that stands for itself.
    times: Option<u64>,
    last: Refusal,
}

/// Counts and says what is worth a line. Pure: time comes from outside.
#[derive(Default)]
struct Sums(HashMap<Kind, Sum>);

impl Sums {
    /// Somebody was turned away. Returns what is to be written by now.
    fn note(&mut self, refusal: Refusal, now: Instant) -> Vec<Line> {
        let mut lines = self.due(now);
        let is_at_once = !matches!(refusal.how, How::Closed { code: RESTART, .. });
        let kind = self.kind(&refusal);
        if let Some(sum) = self.0.get_mut(&kind) {
            sum.times += 1;
            sum.last = refusal;
            return lines;
        }
        if is_at_once {
            lines.push(Line {
                times: None,
                last: refusal.clone(),
            });
        }
        let sum = Sum {
            since: now,
            times: u64::from(!is_at_once),
            last: refusal,
        };
        self.0.insert(kind, sum);
        lines
    }

    /// The kind that it is counted with: one that is there, or one that there
    /// is room for.
    fn kind(&self, refusal: &Refusal) -> Kind {
        let what = match &refusal.how {
            How::Refused { code, .. } => code.clone(),
            How::Closed { code, .. } => format!("{code} {}", refusal.why),
        };
        let of_server = matches!(refusal.how, How::Closed { code: RESTART, .. });
        let own = Kind {
            what: what.clone(),
            store: refusal.store.clone().filter(|_| !of_server),
        };
        if self.0.contains_key(&own) {
            return own;
        }
        let with_store = self.0.keys().filter(|kind| kind.store.is_some()).count();
        let has_room = self.0.len() < KINDS_MAX;
        if own.store.is_some() && with_store < STORES_MAX && has_room {
            return own;
        }
        let of_all_stores = Kind { what, store: None };
        if self.0.contains_key(&of_all_stores) || has_room {
            return of_all_stores;
        }
        Kind {
            what: String::new(),
            store: None,
        }
    }

    /// The sums whose time has come. A kind that has rested is forgotten.
    fn due(&mut self, now: Instant) -> Vec<Line> {
        let mut lines = Vec::new();
        self.0.retain(|_, sum| {
            if now.saturating_duration_since(sum.since) < PERIOD {
                return true;
            }
            sum.since = now;
            let line = sum.take();
            let is_going_on = line.is_some();
            lines.extend(line);
            is_going_on
        });
        lines
    }

    /// All that is not in the log yet.
    fn rest(&mut self) -> Vec<Line> {
        self.0.values_mut().filter_map(Sum::take).collect()
    }
}

impl Sum {
    fn take(&mut self) -> Option<Line> {
        let times = std::mem::take(&mut self.times);
        (times > 0).then(|| Line {
            times: Some(times),
            last: self.last.clone(),
        })
    }
}

/// The log of those who are turned away.
#[derive(Default)]
pub struct Refusals {
    sums: Mutex<Sums>,
    telemetry: Telemetry,
}

impl Refusals {
    /// A log whose lines the metrics count, too.
    #[must_use]
    pub fn new(telemetry: Telemetry) -> Self {
        Self {
            sums: Mutex::default(),
            telemetry,
        }
    }

    /// What else is told.
    #[must_use]
    pub fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }

    /// A request was refused: with which code and answer (an HTTP status, or
    /// a close code; `None` for silence), the store that it asked for, and why, in a sentence.
    /// None of it may hold a token.
    pub fn refused(
        &self,
        peer: &Peer,
        store: Option<&str>,
        code: &str,
        answer: Option<u16>,
        why: &str,
    ) {
        if let Some(meters) = self.telemetry.meters() {
            meters.admitted(Some(code));
        }
        let code = bounded(code, WORDS_CHARS_MAX);
        self.note(How::Refused { code, answer }, store, why, peer);
    }

    /// A socket was closed by this server.
    pub fn closed(
        &self,
        peer: &Peer,
        store: &str,
        (code, reason): (u16, &str),
        (lived, traffic): (Duration, Traffic),
    ) {
        let how = How::Closed {
            code,
            lived,
            traffic,
        };
        self.note(how, Some(store), reason, peer);
    }

    fn note(&self, how: How, store: Option<&str>, why: &str, peer: &Peer) {
        let refusal = Refusal {
            how,
            store: store.map(|store| bounded(&shown(store), STORE_CHARS_MAX)),
            why: bounded(why, WORDS_CHARS_MAX),
            peer: peer.clone(),
        };
        let lines = self.lock().note(refusal, Instant::now());
        lines.iter().for_each(Line::write);
    }

    /// Writes what is summed up when its time has come, for as long as it is
    /// polled.
    pub async fn keep(&self) {
        let mut looks = tokio::time::interval(LOOK);
        loop {
            looks.tick().await;
            let lines = self.lock().due(Instant::now());
            lines.iter().for_each(Line::write);
        }
    }

    /// Writes all that is summed up.
    pub fn write_rest(&self) {
        let lines = self.lock().rest();
        lines.iter().for_each(Line::write);
    }

    fn lock(&self) -> MutexGuard<'_, Sums> {
        self.sums.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    /// Texts of clients' own are fields: those are written as Rust writes
    /// strings, so that nothing in them ends the line.
    fn write(&self) {
        let Self { times, last } = self;
        let Refusal {
            how,
            store,
            why,
            peer,
        } = last;
        match how {
            How::Refused { code, answer } => info!(
                event = "refused",
                times,
                code = code.as_str(),
                answer,
                store = store.as_deref(),
                why = why.as_str(),
                request = peer.request.as_deref(),
                origin = peer.origin.as_deref(),
                address = %peer.address,
                forwarded_for = peer.forwarded_for.as_deref(),
                request_id = peer.request_id(),
                "refused"
            ),
            How::Closed {
                code,
                lived,
                traffic,
            } => info!(
                event = "closed",
                times,
                code,
                store = store.as_deref(),
                why = why.as_str(),
                lived_ms = millis(*lived),
                frames_in = traffic.frames_in,
                bytes_in = traffic.bytes_in,
                frames_out = traffic.frames_out,
                bytes_out = traffic.bytes_out,
                unsent_frames = traffic.unsent_frames,
                unsent_bytes = traffic.unsent_bytes,
                origin = peer.origin.as_deref(),
                address = %peer.address,
                forwarded_for = peer.forwarded_for.as_deref(),
                request_id = peer.request_id(),
                "closed"
            ),
        }
    }
}

/// A duration as the log has it.
#[must_use]
pub fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn refusal(code: &str, store: Option<&str>) -> Refusal {
        Refusal {
            how: How::Refused {
                code: code.to_owned(),
                answer: Some(401),
            },
            store: store.map(str::to_owned),
            why: String::new(),
            peer: Peer::silent("127.0.0.1:1".parse().unwrap()),
        }
    }

    fn closed(code: u16, store: &str) -> Refusal {
        let how = How::Closed {
            code,
            lived: Duration::ZERO,
            traffic: Traffic::default(),
        };
        Refusal {
            how,
            ..refusal("", Some(store))
        }
    }

    fn times(lines: &[Line]) -> Vec<Option<u64>> {
        lines.iter().map(|line| line.times).collect()
    }

    /// How many were turned away, by these lines.
    fn count(lines: &[Line]) -> u64 {
        lines.iter().map(|line| line.times.unwrap_or(1)).sum()
    }

    #[test]
    fn the_first_of_a_kind_is_told_at_once_and_the_others_in_sums() {
        let mut sums = Sums::default();
        let start = Instant::now();
        assert_eq!(sums.note(refusal("A", Some("s")), start).len(), 1);
        for _ in 0..999 {
            assert!(sums.note(refusal("A", Some("s")), start).is_empty());
        }
        assert_eq!(sums.note(refusal("B", Some("s")), start).len(), 1);
        assert_eq!(sums.note(refusal("A", Some("t")), start).len(), 1);
        assert!(sums.due(start + PERIOD / 2).is_empty());
        let lines = sums.due(start + PERIOD);
        assert_eq!(times(&lines), [Some(999)]);
        // It goes on: in sums. Once it has rested, the next is a first again.
        let later = start + PERIOD;
        assert!(sums.note(refusal("A", Some("s")), later).is_empty());
        assert_eq!(sums.due(later + PERIOD).len(), 1);
        assert!(sums.due(later + 2 * PERIOD).is_empty());
        assert!(sums.0.is_empty());
        let much_later = later + 2 * PERIOD;
        assert_eq!(sums.note(refusal("A", Some("s")), much_later).len(), 1);
    }

    #[test]
    fn i7_whatever_clients_name_lines_and_memory_are_bounded_and_none_is_forgotten() {
        let mut sums = Sums::default();
        let now = Instant::now();
        let mut lines = Vec::new();
        for number in 0..10_000 {
            let store = number.to_string();
            lines.extend(sums.note(refusal("A", Some(&store)), now));
            // Also those of a component that makes codes up.
            lines.extend(sums.note(refusal(&store, Some(&store)), now));
        }
        assert!(sums.0.len() <= KINDS_MAX + 1);
        assert!(lines.len() <= KINDS_MAX + 1, "{}", lines.len());
        lines.extend(sums.rest());
        assert!(lines.len() <= 2 * (KINDS_MAX + 1), "{}", lines.len());
        assert_eq!(count(&lines), 20_000);
    }

    #[test]
    fn what_a_server_does_when_it_stops_is_one_line() {
        let mut sums = Sums::default();
        let now = Instant::now();
        for store in 0..100 {
            let closed = closed(RESTART, &store.to_string());
            assert!(sums.note(closed, now).is_empty());
        }
        assert_eq!(sums.note(closed(1013, "s"), now).len(), 1);
        let rest = sums.rest();
        assert_eq!(times(&rest), [Some(100)]);
        assert!(sums.rest().is_empty());
    }
}
