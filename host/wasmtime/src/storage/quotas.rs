//! Quotas: what users have used, and what they have under way (`wit/quotas.wit`).
//! A file beside the logs, or memory where these are. Every count is exact:
//! whoever counts has the connection for itself.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use thiserror::Error;

use crate::storage::Location;

/// The file's name in a data directory.
const FILE: &str = "quotas.db";

/// How long somebody else's lock on the file is waited for: nobody but an
/// operator with a tool should have one, and a request waits meanwhile.
const BUSY_TIMEOUT: Duration = Duration::from_secs(1);

/// How often what is over is thrown away, in calls: so many rows at most are
/// kept for nothing.
const SWEEP_CALLS: u32 = 1_000;

/// When a place that is taken is worth another try: others' streams end at
/// any time.
const PLACE_RETRY_MS: u64 = 1_000;

/// The layout of the file, `user_version` in SQLite.
const LAYOUT: i64 = 1;

/// A window begins with the first that is used in it. Numbers of places are
/// never given again, so that nobody lets another's go.
const SCHEMA: &str = r#"
    CREATE TABLE IF NOT EXISTS "used" (
        "user" TEXT NOT NULL,
        "counter" TEXT NOT NULL,
        "since_ms" INTEGER NOT NULL,
        "until_ms" INTEGER NOT NULL,
        "amount" INTEGER NOT NULL,
        PRIMARY KEY ("user", "counter")
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS "held" (
        "place" INTEGER PRIMARY KEY AUTOINCREMENT,
        "user" TEXT NOT NULL,
        "counter" TEXT NOT NULL,
        "until_ms" INTEGER NOT NULL
    );
    CREATE INDEX IF NOT EXISTS "held_by" ON "held" ("user", "counter");
"#;

/// Why something is not granted.
#[derive(Debug, Error)]
pub enum Denied {
    /// So much is used already.
    #[error("it is used up; try again in {retry_after_ms} ms")]
    Exhausted {
        /// When it is worth another try.
        retry_after_ms: u64,
    },
    /// The counters cannot be read or written. For the operator's log.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Why the counters cannot be read or written.
#[derive(Debug, Error)]
pub enum Unavailable {
    /// SQLite failed.
    #[error("{FILE}: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// A later server has made the file.
    #[error("{FILE} has layout {0}, which this server does not know: a later one has made it")]
    Newer(i64),
}

impl From<rusqlite::Error> for Denied {
    fn from(error: rusqlite::Error) -> Self {
        Self::Unavailable(error.into())
    }
}

/// Whose, and which of their counters.
pub type Key<'a> = (&'a str, &'a str);

/// What is counted in. The file is made when something is counted first.
pub struct Quotas {
    file: Option<PathBuf>,
    open: Mutex<Option<Open>>,
}

struct Open {
    connection: Connection,
    calls: u32,
}

impl Quotas {
    /// The quotas beside these logs. The directory is the caller's alone, and
    /// what was under way when its last user ended is not under way any more.
    #[must_use]
    pub fn new(location: &Location) -> Self {
        let file = match location {
            Location::Sqlite(dir) => Some(dir.join(FILE)),
            Location::Memory => None,
        };
        Self {
            file,
            open: Mutex::new(None),
        }
    }

    /// Takes `amount`, if less than `max` is used within the window.
    ///
    /// # Errors
    /// When it is not granted.
    pub fn take(&self, key: Key<'_>, amount: u64, max: u64, window_ms: u64) -> Result<(), Denied> {
        self.with(|transaction| take_at(transaction, now_ms(), key, amount, max, window_ms))
    }

    /// Adds `amount` to what is used within the window.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn add(&self, key: Key<'_>, amount: u64, window_ms: u64) -> Result<(), Denied> {
        self.take(key, amount, u64::MAX, window_ms)
    }

    /// Holds one of `max` places until it is let go, or its lease is over.
    ///
    /// # Errors
    /// When all are held.
    pub fn hold(&self, key: Key<'_>, max: u32, lease_ms: u64) -> Result<u64, Denied> {
        self.with(|transaction| hold_at(transaction, now_ms(), key, max, lease_ms))
    }

    /// Gives a place back, if it is still held.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn let_go(&self, (user, counter): Key<'_>, place: u64) -> Result<(), Denied> {
        self.with(|transaction| {
            let mut statement = transaction.prepare_cached(
                r#"DELETE FROM "held" WHERE "place" = ?1 AND "user" = ?2 AND "counter" = ?3"#,
            )?;
            statement.execute(params![bounded(place), user, counter])?;
            Ok(())
        })
    }

    /// Runs a call within a transaction.
    fn with<T>(
        &self,
        call: impl FnOnce(&Transaction<'_>) -> Result<T, Denied>,
    ) -> Result<T, Denied> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let Open { connection, calls } = match &mut *open {
            Some(open) => open,
            none => none.insert(self.open()?),
        };
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if *calls == 0 {
            sweep(&transaction, now_ms())?;
        }
        let result = call(&transaction);
        if !matches!(result, Err(Denied::Unavailable(_))) {
            transaction.commit()?;
            *calls = (*calls + 1) % SWEEP_CALLS;
        }
        result
    }

    fn open(&self) -> Result<Open, Unavailable> {
        let connection = match &self.file {
            Some(file) => Connection::open(file)?,
            None => Connection::open_in_memory()?,
        };
        connection.busy_timeout(BUSY_TIMEOUT)?;
        let layout = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        if layout > LAYOUT {
            return Err(Unavailable::Newer(layout));
        }
        connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
        // What a power cut takes of it is the last second's, and nobody was
        // promised it.
        connection.pragma_update(None, "synchronous", "normal")?;
        connection.execute_batch(&format!(
            r#"BEGIN; {SCHEMA} DELETE FROM "held"; PRAGMA user_version = {LAYOUT}; COMMIT"#
        ))?;
        Ok(Open {
            connection,
            calls: 0,
        })
    }
}

/// Throws away what is over.
fn sweep(transaction: &Transaction<'_>, now_ms: u64) -> rusqlite::Result<()> {
    for sql in [
        r#"DELETE FROM "used" WHERE "until_ms" <= ?1"#,
        r#"DELETE FROM "held" WHERE "until_ms" <= ?1"#,
    ] {
        transaction.execute(sql, [bounded(now_ms)])?;
    }
    Ok(())
}

fn take_at(
    transaction: &Transaction<'_>,
    now_ms: u64,
    (user, counter): Key<'_>,
    amount: u64,
    max: u64,
    window_ms: u64,
) -> Result<(), Denied> {
    let now = bounded(now_ms);
    let window = bounded(window_ms);
    let mut statement = transaction.prepare_cached(
        r#"SELECT "since_ms", "until_ms", "amount" FROM "used"
           WHERE "user" = ?1 AND "counter" = ?2"#,
    )?;
    let row: Option<(i64, i64, i64)> = statement
        .query_row([user, counter], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .optional()?;
    let begun = (now, now.saturating_add(window));
    let ((since, until), used) = match row {
        // The clock was put back: the window does not last until it is where
        // it was.
        Some((since, _, used)) if since > now => (begun, used),
        Some((since, until, used)) if now < until => ((since, until), used),
        _ => (begun, 0),
    };
    let is_granted = used < bounded(max);
    let used = used.saturating_add(if is_granted { bounded(amount) } else { 0 });
    let mut statement = transaction.prepare_cached(
        r#"INSERT INTO "used" ("user", "counter", "since_ms", "until_ms", "amount")
           VALUES (?1, ?2, ?3, ?4, ?5)
           ON CONFLICT DO UPDATE SET "since_ms" = ?3, "until_ms" = ?4, "amount" = ?5"#,
    )?;
    statement.execute(params![user, counter, since, until, used])?;
    if is_granted {
        return Ok(());
    }
    let left = until.saturating_sub(now).max(1);
    Err(Denied::Exhausted {
        retry_after_ms: u64::try_from(left).unwrap_or(1),
    })
}

fn hold_at(
    transaction: &Transaction<'_>,
    now_ms: u64,
    (user, counter): Key<'_>,
    max: u32,
    lease_ms: u64,
) -> Result<u64, Denied> {
    let now = bounded(now_ms);
    transaction
        .prepare_cached(
            r#"DELETE FROM "held" WHERE "user" = ?1 AND "counter" = ?2 AND "until_ms" <= ?3"#,
        )?
        .execute(params![user, counter, now])?;
    let held: i64 = transaction
        .prepare_cached(r#"SELECT count(*) FROM "held" WHERE "user" = ?1 AND "counter" = ?2"#)?
        .query_row([user, counter], |row| row.get(0))?;
    if held >= i64::from(max) {
        return Err(Denied::Exhausted {
            retry_after_ms: PLACE_RETRY_MS,
        });
    }
    let until = now.saturating_add(bounded(lease_ms));
    transaction
        .prepare_cached(
            r#"INSERT INTO "held" ("user", "counter", "until_ms") VALUES (?1, ?2, ?3)"#,
        )?
        .execute(params![user, counter, until])?;
    Ok(u64::try_from(transaction.last_insert_rowid()).unwrap_or_default())
}

/// SQLite's integers have 63 bits.
fn bounded(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(now.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    const KEY: Key<'static> = ("user", "tokens");
    const DAY_MS: u64 = 86_400_000;

    fn in_memory() -> Quotas {
        Quotas::new(&Location::Memory)
    }

    fn retry_after_ms<T>(result: Result<T, Denied>) -> Option<u64> {
        match result {
            Ok(_) => None,
            Err(Denied::Exhausted { retry_after_ms }) => Some(retry_after_ms),
            Err(error) => panic!("{error}"),
        }
    }

    impl Quotas {
        fn take_at(&self, now_ms: u64, amount: u64, max: u64) -> Option<u64> {
            let take = |it: &Transaction<'_>| take_at(it, now_ms, KEY, amount, max, 1_000);
            retry_after_ms(self.with(take))
        }

        fn hold_at(&self, now_ms: u64, max: u32) -> Result<u64, Denied> {
            self.with(|it| hold_at(it, now_ms, KEY, max, 1_000))
        }
    }

    #[test]
    fn the_last_one_may_go_beyond_and_the_next_waits_for_the_window() {
        let quotas = in_memory();
        // A million years from now, so that nothing is swept.
        let begin = 30_000_000_000_000_000;
        assert_eq!(quotas.take_at(begin, 9, 10), None);
        assert_eq!(quotas.take_at(begin + 300, 9, 10), None);
        assert_eq!(quotas.take_at(begin + 400, 1, 10), Some(600));
        // The window is the first one's.
        assert_eq!(quotas.take_at(begin + 999, 1, 10), Some(1));
        assert_eq!(quotas.take_at(begin + 1_000, 1, 10), None);
        assert_eq!(quotas.take_at(begin + 1_001, 9, 10), None);
        assert_eq!(quotas.take_at(begin + 1_002, 1, 10), Some(998));
        // Another counter, and another user, have their own.
        assert!(quotas.take(("user", "other"), 1, 1, 1_000).is_ok());
        assert!(quotas.take(("other", "tokens"), 1, 1, 1_000).is_ok());
    }

    #[test]
    fn a_clock_that_is_put_back_makes_no_window_longer() {
        let quotas = in_memory();
        let begin = 30_000_000_000_000_000;
        assert_eq!(quotas.take_at(begin, 10, 10), None);
        assert_eq!(quotas.take_at(begin - 500_000, 1, 10), Some(1_000));
        assert_eq!(quotas.take_at(begin - 499_001, 1, 10), Some(1));
        assert_eq!(quotas.take_at(begin - 499_000, 1, 10), None);
    }

    #[test]
    fn tokens_of_a_day_outlive_the_process() {
        let dir = tempfile::tempdir().unwrap();
        let location = Location::Sqlite(dir.path().to_owned());
        let quotas = Quotas::new(&location);
        quotas.take(KEY, 0, 100, DAY_MS).unwrap();
        quotas.add(KEY, 250, DAY_MS).unwrap();
        // As if it were killed: nothing is closed.
        std::mem::forget(quotas);
        let quotas = Quotas::new(&location);
        let wait = retry_after_ms(quotas.take(KEY, 1, 250, DAY_MS)).unwrap();
        assert!(wait > DAY_MS / 2 && wait <= DAY_MS, "{wait}");
        quotas.take(KEY, 1, 251, DAY_MS).unwrap();
    }

    #[test]
    fn a_place_is_held_until_it_is_let_go_or_its_lease_is_over() {
        let quotas = in_memory();
        let begin = 30_000_000_000_000_000;
        let first = quotas.hold_at(begin, 2).unwrap();
        let second = quotas.hold_at(begin + 500, 2).unwrap();
        assert_ne!(first, second);
        let full = quotas.hold_at(begin + 900, 2);
        assert_eq!(retry_after_ms(full), Some(PLACE_RETRY_MS));
        quotas.let_go(KEY, second).unwrap();
        // Once is enough, and another's is not mine.
        quotas.let_go(KEY, second).unwrap();
        quotas.let_go(("other", "tokens"), first).unwrap();
        let third = quotas.hold_at(begin + 900, 2).unwrap();
        assert!(third > second, "a number is given once");
        assert!(quotas.hold_at(begin + 999, 2).is_err());
        // The first one's lease.
        assert!(quotas.hold_at(begin + 1_000, 2).is_ok());
        assert!(quotas.hold_at(begin + 1_000, 2).is_err());
    }

    #[test]
    fn whoever_is_killed_holds_no_place() {
        let dir = tempfile::tempdir().unwrap();
        let location = Location::Sqlite(dir.path().to_owned());
        let quotas = Quotas::new(&location);
        quotas.hold(KEY, 1, DAY_MS).unwrap();
        assert!(quotas.hold(KEY, 1, DAY_MS).is_err());
        std::mem::forget(quotas);
        Quotas::new(&location).hold(KEY, 1, DAY_MS).unwrap();
    }

    #[test]
    fn i7_what_is_over_is_thrown_away() {
        let quotas = in_memory();
        for user in 0..SWEEP_CALLS {
            let user = user.to_string();
            // Their windows were over before they began.
            quotas.take((&user, "tokens"), 1, 1, 0).unwrap();
        }
        quotas.take(KEY, 1, 1, DAY_MS).unwrap();
        let count = r#"SELECT count(*) FROM "used""#;
        let rows = quotas.with(|it| Ok(it.query_row(count, [], |row| row.get::<_, i64>(0))?));
        assert_eq!(rows.unwrap(), 1);
    }

    #[test]
    fn a_file_that_cannot_be_read_is_said_and_read_when_it_can_be() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(FILE);
        std::fs::write(&file, "no database").unwrap();
        let quotas = Quotas::new(&Location::Sqlite(dir.path().to_owned()));
        let error = quotas.take(KEY, 1, 1, 1).unwrap_err();
        assert!(matches!(error, Denied::Unavailable(_)), "{error}");
        std::fs::remove_file(&file).unwrap();
        quotas.take(KEY, 1, 1, 1).unwrap();
    }
}
