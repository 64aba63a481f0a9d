//! A host for the services' tests: a clock, numbers from a seed, variables,
//! and counters that remember what was done to them.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jwt_simple::prelude::{Claims as Token, HS256Key, MACLike};
use serde_json::{Value, json};

use crate::admission::Request;
use crate::config::Config;
use crate::imports::{
    AttachError, Callback, Claims, ConnectionId, Connections, Diagnostics, Event, EventLog, Level,
    LogInfo, Opening, QuotaDenied, Quotas, StorageError, StoredEvent, SubscribeError, System,
    Telemetry, Timer,
};

/// The secret of tokens.
pub const JWT_SECRET: &str = "a-secret-of-at-least-32-bytes-for-tests";

/// The server's own.
pub const BYPASS: &str = "a-bypass-of-at-least-32-bytes-for-tests";

/// What was done to the counters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Counted {
    Take(String, String, u64),
    Add(String, String, u64),
    Hold(String, u64),
    LetGo(String, u64),
}

/// The host.
pub struct FakeHost {
    pub now: SystemTime,
    pub random: fastrand::Rng,
    pub env: BTreeMap<String, String>,
    pub lines: Vec<(Level, String)>,
    pub counted: Vec<Counted>,
    /// What `take` of a counter says.
    pub denies: BTreeMap<&'static str, QuotaDenied>,
    places: u64,
}

impl FakeHost {
    /// One with these variables, where no tokens are required.
    pub fn new(env: &[(&str, &str)]) -> Self {
        let mut all = BTreeMap::from([("ENVIRONMENT".to_owned(), "development".to_owned())]);
        all.extend(env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
        Self {
            now: UNIX_EPOCH + Duration::from_secs(1_700_000_000),
            random: fastrand::Rng::with_seed(7),
            env: all,
            lines: Vec::new(),
            counted: Vec::new(),
            denies: BTreeMap::new(),
            places: 0,
        }
    }

    /// The same where tokens are required.
    pub fn with_tokens(env: &[(&str, &str)]) -> Self {
        let mut host = Self::new(env);
        for (name, value) in [
            ("REQUIRE_AUTH", "true"),
            ("JWT_SECRET", JWT_SECRET),
            ("SERVER_BYPASS_TOKEN", BYPASS),
        ] {
            host.env.insert(name.to_owned(), value.to_owned());
        }
        host
    }

    /// Its configuration.
    pub fn config(&mut self) -> Config {
        Config::read(self).unwrap()
    }

    /// The places that are held and were not given back.
    pub fn held(&self) -> i64 {
        self.counted
            .iter()
            .map(|it| match it {
                Counted::Hold(..) => 1,
                Counted::LetGo(..) => -1,
                _ => 0,
            })
            .sum()
    }

    /// What was added afterwards.
    pub fn added(&self) -> Vec<u64> {
        let amounts = self.counted.iter().filter_map(|it| match it {
            Counted::Add(_, _, amount) => Some(*amount),
            _ => None,
        });
        amounts.collect()
    }
}

/// A token of a user with these workspaces and roles.
pub fn token(user: &str, workspaces: &[(&str, &str)]) -> String {
    let workspaces: Vec<Value> = workspaces
        .iter()
        .map(|(id, role)| json!({ "id": id, "role": role }))
        .collect();
    let claims = json!({
        "userId": user, "workspaceClaimsVersion": 1, "workspaces": workspaces,
    });
    let mut token =
        Token::with_custom_claims(claims, jwt_simple::prelude::Duration::from_days(365));
    token.invalid_before = None;
    HS256Key::from_bytes(JWT_SECRET.as_bytes())
        .authenticate(token)
        .unwrap()
}

/// A request.
pub fn request(method: &str, path: &str, headers: &[(&str, &str)]) -> Request {
    Request {
        method: method.to_owned(),
        path: path.to_owned(),
        headers: headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        ..Request::default()
    }
}

/// A header's value.
pub fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let mut values = headers.iter().filter(|(it, _)| it == name);
    let value = values.next().map(|(_, value)| value.as_str());
    assert!(values.next().is_none(), "{name} stands there twice");
    value
}

impl System for FakeHost {
    fn now(&mut self) -> SystemTime {
        self.now
    }
    fn random(&mut self, bytes: &mut [u8]) {
        self.random.fill(bytes);
    }
    fn env(&mut self, name: &str) -> Option<String> {
        self.env.get(name).cloned()
    }
}

impl Telemetry for FakeHost {}

impl Diagnostics for FakeHost {
    fn log(&mut self, level: Level, message: &str) {
        self.lines.push((level, message.to_owned()));
    }
}

impl Claims for FakeHost {
    fn current_version(&mut self, _: &str) -> Result<Option<u64>, String> {
        Ok(None)
    }
}

impl Quotas for FakeHost {
    fn take(
        &mut self,
        user: &str,
        counter: &str,
        amount: u64,
        _: u64,
        _: u64,
    ) -> Result<(), QuotaDenied> {
        if let Some(denied) = self.denies.get(counter) {
            return Err(denied.clone());
        }
        self.counted
            .push(Counted::Take(user.to_owned(), counter.to_owned(), amount));
        Ok(())
    }

    fn add(&mut self, user: &str, counter: &str, amount: u64, _: u64) -> Result<(), QuotaDenied> {
        self.counted
            .push(Counted::Add(user.to_owned(), counter.to_owned(), amount));
        Ok(())
    }

    fn hold(&mut self, user: &str, counter: &str, _: u32, _: u64) -> Result<u64, QuotaDenied> {
        if let Some(denied) = self.denies.get(counter) {
            return Err(denied.clone());
        }
        self.places += 1;
        self.counted
            .push(Counted::Hold(user.to_owned(), self.places));
        Ok(self.places)
    }

    fn let_go(&mut self, user: &str, _: &str, place: u64) -> Result<(), QuotaDenied> {
        self.counted.push(Counted::LetGo(user.to_owned(), place));
        Ok(())
    }
}

/// Services have nothing to do with the log.
impl EventLog for FakeHost {
    fn open(&mut self, _: &str) -> Result<LogInfo, StorageError> {
        unreachable!()
    }
    fn append(&mut self, _: u64, _: &[Event<'_>], _: &str) -> Result<(), StorageError> {
        unreachable!()
    }
    fn read(&mut self, _: u64, _: u32, _: u32) -> Result<Vec<StoredEvent>, StorageError> {
        unreachable!()
    }
    fn reset(&mut self, _: &str) -> Result<(), StorageError> {
        unreachable!()
    }
}

/// Nor with connections.
impl Connections for FakeHost {
    fn send(&mut self, _: &[ConnectionId], _: &str) {
        unreachable!()
    }
    fn send_each(&mut self, _: &[Opening], _: &str) {
        unreachable!()
    }
    fn close(&mut self, _: ConnectionId, _: u16, _: &str) {
        unreachable!()
    }
    fn attach(&mut self, _: ConnectionId, _: &str) -> Result<(), AttachError> {
        unreachable!()
    }
    fn attached(&mut self) -> Vec<(ConnectionId, String)> {
        unreachable!()
    }
    fn subscribe(&mut self, _: &str, _: &str, _: Callback) -> Result<ConnectionId, SubscribeError> {
        unreachable!()
    }
    fn notify_drained(&mut self, _: ConnectionId) {
        unreachable!()
    }
}

impl Timer for FakeHost {
    fn wake_after(&mut self, _: u32) {
        unreachable!()
    }
}
