//! Clients under load on a server that is killed or whose disk fails, and
//! what their records have to say about the log afterwards.

mod client;

use std::collections::HashSet;

use fastrand::Rng;

pub use self::client::{Args, Client, Life, Shown, Tally};
use crate::rpc;
use crate::server::Server;

/// A number that the environment may set.
///
/// # Panics
/// When it is none.
#[must_use]
pub fn number_from_environment(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    match value.parse() {
        Ok(number) => Some(number),
        Err(_) => panic!("{name} is to be a number, not {value}"),
    }
}

/// A store and those who are on it.
pub struct Store {
    /// Its id.
    pub name: String,
    /// Those who are on it.
    pub clients: Vec<Client>,
    /// The log as it was last seen.
    log: Vec<Shown>,
}

impl Store {
    /// A store that nobody has used before, with a reader and three who push.
    #[must_use]
    pub fn new(prefix: &str, rng: &mut Rng) -> Self {
        // Unlike that of any other run.
        let name = format!("{prefix}-{:x}", rng.u64(..));
        let mut client = |who: &str, pushes| {
            let rng = rng.fork();
            Client::new(format!("{name}-{who}"), &name, pushes, rng)
        };
        let clients = vec![
            client("reader", false),
            client("pusher-1", true),
            client("pusher-2", true),
            client("pusher-3", true),
        ];
        Self {
            name,
            clients,
            log: Vec::new(),
        }
    }

    /// Compares the log, as a new client reads it, with every record.
    ///
    /// # Panics
    /// When a client was told something else.
    pub fn check(&mut self, server: &Server) {
        let name = &self.name;
        let (chunks, exit) = rpc::Client::open(server, name).pull_all(None);
        assert_eq!(exit["_tag"], "Success", "{exit}");
        let mut log: Vec<Shown> = Vec::new();
        for (seq_num, shown) in chunks.iter().flat_map(Shown::all) {
            assert_eq!(seq_num, log.len() as u64 + 1, "I3, the log of {name}");
            log.push(shown);
        }
        assert!(log.starts_with(&self.log), "I1, I3: {name} was rewritten");
        let id = chunks[0]["values"][0]["backendId"].as_str().unwrap();
        for client in &self.clients {
            if let Some(known) = &client.backend_id {
                assert_eq!(known, id, "I8: {name}");
            }
            assert!(
                log.starts_with(&client.shown),
                "I1, I3: a client of {name} was shown {} events; the log has {}, and not these",
                client.shown.len(),
                log.len(),
            );
            for (seq_num, args) in &client.acknowledged {
                let index = usize::try_from(*seq_num - 1).unwrap();
                let there = log.get(index).map(|shown| &shown.args);
                assert_eq!(there, Some(args), "I1: {name}, event {seq_num}");
            }
        }
        check_whole(name, &log);
        self.log = log;
    }
}

/// I2: every push that has anything in the log is there once, whole and in
/// one piece.
fn check_whole(name: &str, log: &[Shown]) {
    let mut pushes = HashSet::new();
    let mut rest = log;
    while let Some(first) = rest.first() {
        let push = &first.args;
        let of = usize::try_from(push.of).unwrap();
        let (batch, after) = rest.split_at(of.min(rest.len()));
        let whole = batch.len() == of
            && batch
                .iter()
                .zip(0..)
                .all(|(shown, n)| shown.args == Args { n, ..push.clone() });
        assert!(whole, "I2: {name} holds a part of {push:?}");
        let is_new = pushes.insert((&push.pusher, push.push));
        assert!(is_new, "I3: {name} holds {push:?} twice");
        rest = after;
    }
}
