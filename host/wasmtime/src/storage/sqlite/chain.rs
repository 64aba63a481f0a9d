//! Logs looked through for gaps: whether every event follows the one before
//! it. Who serves never looks, since only an edit by hand or a disk that lies
//! makes one (I3, I4).

use rusqlite::{Connection, OptionalExtension, params};

use super::logs::EVENTS_MAX;
use crate::storage::trouble::Failure;

/// What was found in a file's logs.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Chains {
    /// Stores that have a log.
    pub stores: u64,
    /// Events that were looked at.
    pub events: u64,
    /// Breaks in all.
    pub breaks: u64,
    /// The first breaks, in words, at most as many as were asked for.
    pub shown: Vec<String>,
}

impl Chains {
    fn found(&mut self, shown_max: usize, words: impl FnOnce() -> String) {
        self.breaks += 1;
        if self.shown.len() < shown_max {
            self.shown.push(words());
        }
    }
}

/// What a log's next event has to be.
struct Expected {
    store: String,
    number: i64,
    offset: i64,
    /// The event before, if there is one.
    last: Option<i64>,
}

/// Looks through all logs of a file.
///
/// # Errors
/// SQLite's.
pub fn all(connection: &Connection, shown_max: usize) -> Result<Chains, Failure> {
    let mut chains = Chains::default();
    if connection.table_exists(None, "syncline_logs")? {
        shared(connection, shown_max, &mut chains)?;
    }
    if connection.table_exists(None, "syncline_stores")? {
        own(connection, shown_max, &mut chains)?;
    }
    Ok(chains)
}

/// Those that share tables: sorted by log and place, so each is one run.
fn shared(connection: &Connection, shown_max: usize, chains: &mut Chains) -> Result<(), Failure> {
    const LOGS: &str = r#"SELECT count(*) FROM "syncline_logs""#;
    const LOG: &str = r#"SELECT "storeId", "offset" FROM "syncline_logs" WHERE "number" = ?1"#;
    const EVENTS: &str =
        r#"SELECT "id", "seqNum", "parentSeqNum" FROM "syncline_events" ORDER BY "id""#;
    let stores: i64 = connection.query_row(LOGS, [], |row| row.get(0))?;
    chains.stores += u64::try_from(stores).unwrap_or(0);
    let mut log = connection.prepare(LOG)?;
    let mut select = connection.prepare(EVENTS)?;
    let mut rows = select.query([])?;
    let mut current: Option<Expected> = None;
    let mut of_nobody = None;
    while let Some(row) = rows.next()? {
        let (id, seq_num, parent): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let (number, place) = (id >> 32, id & EVENTS_MAX);
        chains.events += 1;
        if current.as_ref().is_none_or(|it| it.number != number) {
            if of_nobody == Some(number) {
                continue;
            }
            let found = log
                .query_row([number], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            let Some((store, offset)) = found else {
                of_nobody = Some(number);
                chains.found(shown_max, || {
                    format!("log {number} has events and no store")
                });
                continue;
            };
            current = Some(Expected {
                store,
                number,
                offset,
                last: None,
            });
        }
        let Some(expected) = &mut current else {
            continue;
        };
        check(expected, place, (seq_num, parent), shown_max, chains);
    }
    Ok(())
}

fn check(
    expected: &mut Expected,
    place: i64,
    (seq_num, parent): (i64, i64),
    shown_max: usize,
    chains: &mut Chains,
) {
    let store = &expected.store;
    let due = match expected.last {
        Some(last) => last.saturating_add(1),
        None => expected.offset.saturating_add(1),
    };
    if seq_num != due {
        chains.found(shown_max, || match expected.last {
            Some(last) => format!("store {store:?}: event {seq_num} follows event {last}"),
            None => format!("store {store:?}: it begins with event {seq_num}, and not with {due}"),
        });
    } else if expected.last.is_some_and(|last| last != parent) {
        chains.found(shown_max, || {
            format!("store {store:?}: event {seq_num} names event {parent} as its parent")
        });
    } else if place.saturating_add(expected.offset) != seq_num {
        chains.found(shown_max, || {
            format!("store {store:?}: event {seq_num} is at another event's place")
        });
    }
    expected.last = Some(seq_num);
}

/// Those that have a table of their own.
fn own(connection: &Connection, shown_max: usize, chains: &mut Chains) -> Result<(), Failure> {
    const STORES: &str = r#"SELECT "storeId", "tableName" FROM "syncline_stores""#;
    const HEAD: &str = r#"SELECT "currentHead" FROM "context_7" WHERE "storeId" = ?1"#;
    let mut stores = connection.prepare(STORES)?;
    let mut stores = stores.query([])?;
    while let Some(row) = stores.next()? {
        let (store, table): (String, String) = (row.get(0)?, row.get(1)?);
        chains.stores += 1;
        let quoted = table.replace('"', "\"\"");
        let mut select = connection.prepare(&format!(
            r#"SELECT "seqNum", "parentSeqNum" FROM "{quoted}" ORDER BY "seqNum""#
        ))?;
        let mut rows = select.query([])?;
        let mut last: Option<i64> = None;
        while let Some(row) = rows.next()? {
            let (seq_num, parent): (i64, i64) = (row.get(0)?, row.get(1)?);
            chains.events += 1;
            if let Some(last) = last
                && (parent != last || seq_num != last.saturating_add(1))
            {
                chains.found(shown_max, || {
                    format!("store {store:?}: event {seq_num} follows event {last}")
                });
            }
            last = Some(seq_num);
        }
        let head: Option<i64> = connection
            .query_row(HEAD, params![store], |row| row.get(0))
            .optional()?;
        let end = last.unwrap_or(0);
        if head != Some(end) {
            chains.found(shown_max, || {
                format!("store {store:?}: its log ends at event {end}, and not where it is noted")
            });
        }
    }
    Ok(())
}
