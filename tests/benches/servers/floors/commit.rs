//! Events in a SQLite file, with nothing around it.

use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use rusqlite::{Connection, params};

use super::WARM_UP;
use crate::meter::{Done, Gauge, Latencies, Measured, Meter, Whose};
use crate::scenarios::TIME_MIN;

/// As long as an event's `args`.
const ARGS_BYTES: usize = 104;

const SCHEMA: &str = r#"
CREATE TABLE "eventlog" (
    "seqNum" integer primary key,
    "parentSeqNum" integer not null,
    "name" text not null,
    "args" text,
    "createdAt" text not null,
    "clientId" text not null,
    "sessionId" text not null
) STRICT
"#;

const INSERT: &str = r#"INSERT INTO "eventlog" VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)"#;

/// A table of events, in a file that is opened as Syncline's local host opens
/// its own.
pub struct Log {
    connection: Connection,
    head: i64,
    args: String,
}

impl Log {
    /// Creates it.
    ///
    /// # Errors
    /// What SQLite reports.
    pub fn create(dir: &Path) -> rusqlite::Result<Self> {
        let connection = Connection::open(dir.join("floor.db"))?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.pragma_update(None, "synchronous", "full")?;
        connection.execute_batch(SCHEMA)?;
        Ok(Self {
            connection,
            head: 0,
            args: "x".repeat(ARGS_BYTES),
        })
    }

    /// Adds a row, in a transaction of its own: it is on the disk then.
    ///
    /// # Errors
    /// What SQLite reports.
    pub fn append(&mut self) -> rusqlite::Result<()> {
        let parent = self.head;
        self.head += 1;
        self.connection.prepare_cached(INSERT)?.execute(params![
            self.head,
            parent,
            "v1.TodoCreated",
            self.args,
            "2026-01-01T00:00:00.000Z",
            "client-a",
            "static",
        ])?;
        Ok(())
    }
}

/// By this process: its time is the generator's.
pub fn measure() -> Result<Measured> {
    let dir = tempfile::tempdir()?;
    let mut log = Log::create(dir.path())?;
    for _ in 0..WARM_UP {
        log.append()?;
    }
    let mut latencies = Latencies::new("of a commit")?;
    let meter = Meter::start(Gauge::new(Whose::Nobodys));
    while meter.started.elapsed() < TIME_MIN {
        let started = Instant::now();
        log.append()?;
        latencies.record(started.elapsed())?;
    }
    let elapsed = meter.started.elapsed();
    meter.finish(Done {
        operations: latencies.histogram.len(),
        operation: "commits",
        elapsed,
        latencies,
        is_cut_short: false,
    })
}
