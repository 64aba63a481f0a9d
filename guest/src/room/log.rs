//! Ordering: the one place that decides whether a push lands (I2, I4).

use super::batch;
use super::fault::Fault;
use super::recent::Recent;
use super::tally::Tally;
use crate::clock::Time;
use crate::imports::{Event, Imports, Level, LogInfo, StorageError};
use crate::limits::{CHUNK_BYTES_MAX, CHUNK_EVENTS_MAX, JOINED_EVENTS_MAX};
use crate::protocol::chunk::{self, Chunk, Packing};
use crate::protocol::event::ItemForm;

/// Why a push did not land.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PushError {
    /// The client means another incarnation of the log.
    BackendIdMismatch {
        /// The log's.
        expected: String,
        /// The client's.
        received: String,
    },
    /// The first event's parent is not the head, and neither was what this
    /// room believed to be the head: another writer was here.
    Overtaken {
        /// What this room believed.
        believed: LogInfo,
        /// The head.
        minimum_expected: u64,
        /// The parent.
        provided: u64,
    },
    /// The first event's parent is not the head.
    ServerAhead {
        /// The head.
        minimum_expected: u64,
        /// The parent.
        provided: u64,
    },
    /// Anything else.
    Fault(Fault),
}

/// The event log as a room sees it: what it remembers of it between turns is
/// a cache.
#[derive(Debug, Default)]
pub struct Log {
    info: Option<LogInfo>,
    recent: Recent,
    /// Clients that were ahead of the log, since this room woke.
    ahead: Tally,
    /// Pushes for which the clock showed no time.
    timeless: Tally,
}

impl Log {
    /// Head and backend id; opens the log if need be.
    ///
    /// # Errors
    /// What storage reports.
    pub fn info(&mut self, imports: &mut impl Imports) -> Result<LogInfo, Fault> {
        if let Some(info) = &self.info {
            return Ok(info.clone());
        }
        let info = open(imports)?;
        self.info = Some(info.clone());
        Ok(info)
    }

    /// Looks again where the head is, if somebody claims to have seen events
    /// up to `seen`: another writer's, or another server's. Returns what was
    /// believed, if it was another. If storage does not say, all is believed
    /// as before: whoever was live there would not be told later what it has
    /// missed (I3).
    ///
    /// # Errors
    /// What storage reports.
    pub fn look_again(
        &mut self,
        imports: &mut impl Imports,
        seen: u64,
    ) -> Result<Option<LogInfo>, Fault> {
        let believed = self.info(imports)?;
        if seen <= believed.head {
            return Ok(None);
        }
        let actual = open(imports)?;
        if actual == believed {
            return Ok(None);
        }
        report_overtaken(imports, believed.head, actual.head);
        self.recent.forget();
        self.info = Some(actual);
        Ok(Some(believed))
    }

    /// A client has seen events beyond the head, and storage knows of none:
    /// tells the operator, the less often the more there are.
    pub fn report_ahead(&mut self, imports: &mut impl Imports, head: u64, seen: u64) {
        imports.ahead();
        if let Some(count) = self.ahead.count() {
            imports.log(
                Level::Warn,
                &format!(
                    "a client has seen events up to {seen}, but the log ends at {head} ({count} such requests since the room woke): it comes from another server, or the log is a restored backup. It keeps events that nobody else has, and misses others' below {seen}. What to do: PROTOCOL.md, \"Ahead of the log\"."
                ),
            );
        }
    }

    /// Appends a batch, if it continues the log; `None` for an empty batch.
    /// Upstream's order of checks (`src/cf-worker/do/push.ts`): an empty
    /// batch always succeeds, then the backend id, then the head.
    ///
    /// # Errors
    /// Why it did not land; then nothing was stored.
    pub fn push(
        &mut self,
        imports: &mut impl Imports,
        batch: &[Event<'_>],
        backend_id: Option<&str>,
    ) -> Result<Option<String>, PushError> {
        let Some(first) = batch.first() else {
            return Ok(None);
        };
        let info = self.info(imports).map_err(PushError::Fault)?;
        if let Some(received) = backend_id.filter(|received| *received != info.backend_id) {
            return Err(PushError::BackendIdMismatch {
                expected: info.backend_id,
                received: received.to_owned(),
            });
        }
        if first.parent_seq_num != info.head {
            return Err(PushError::ServerAhead {
                minimum_expected: info.head,
                provided: first.parent_seq_num,
            });
        }
        let head = batch::check(info.head, batch).map_err(PushError::Fault)?;
        let Some(now) = Time::read(imports) else {
            if let Some(count) = self.timeless.count() {
                imports.log(
                    Level::Error,
                    &format!("the clock is not between 1970 and 9999: set it; {count} pushes were refused"),
                );
            }
            return Err(PushError::Fault(Fault::clock_wrong()));
        };
        let created_at = now.iso_8601();
        match imports.append(info.head, batch, &created_at) {
            Ok(()) => {
                self.recent.append(info.head, batch, &created_at);
                self.info = Some(LogInfo { head, ..info });
                Ok(Some(created_at))
            }
            Err(StorageError::Conflict(actual)) => {
                // The cache was stale: storage is right.
                report_overtaken(imports, info.head, actual);
                self.forget();
                Err(PushError::Overtaken {
                    believed: info,
                    minimum_expected: actual,
                    provided: first.parent_seq_num,
                })
            }
            Err(error) => Err(PushError::Fault(report(imports, "append", error))),
        }
    }

    /// The next Chunks after `after`, up to the head as this room believes
    /// it: at most `chunks_max` of them, read in one go. What another writer
    /// has put behind that comes when the room learns of it
    /// (`Room::catch_all_up`).
    ///
    /// # Errors
    /// What storage reports.
    pub fn chunks(
        &mut self,
        imports: &mut impl Imports,
        after: u64,
        (form, packing): (ItemForm, Packing),
        chunks_max: usize,
    ) -> Result<Vec<Chunk>, Fault> {
        if let Some(chunks) = self.recent.chunks(after, (form, packing), chunks_max) {
            return Ok(chunks);
        }
        let events_max = match packing {
            Packing::Joined => JOINED_EVENTS_MAX,
            _ => CHUNK_EVENTS_MAX.saturating_mul(chunks_max),
        };
        let events = imports
            .read(
                after,
                u32::try_from(events_max).unwrap_or(u32::MAX),
                u32::try_from(CHUNK_BYTES_MAX).unwrap_or(u32::MAX),
            )
            .map_err(|error| report(imports, "read", error))?;
        let head = self.info(imports)?.head;
        let items = events
            .iter()
            .take_while(|stored| stored.seq_num <= head)
            .map(|stored| (stored.event(), stored.created_at.as_str()));
        let mut chunks = chunk::pack(items, (form, packing), after, chunks_max);
        // What was read is more when it is encoded, so the last Chunk may be
        // a stub: read with what follows it, it will be a whole one.
        if chunks.len() > 1 && chunks.last().is_some_and(|chunk| chunk.last < head) {
            let is_stub = |chunk: &Chunk| chunk.items.len() < CHUNK_BYTES_MAX / 2;
            let by_bytes = events.len() < events_max;
            if by_bytes && chunks.last().is_some_and(is_stub) {
                chunks.pop();
            }
        }
        Ok(chunks)
    }

    /// What follows `after`, in pages, if it need not be read.
    #[must_use]
    pub fn recent_chunks(&self, after: u64, form: ItemForm) -> Option<Vec<Chunk>> {
        let shape = (form, Packing::Pages);
        self.recent.chunks(after, shape, usize::MAX)
    }

    /// Forgets what was believed of the log.
    fn forget(&mut self) {
        self.info = None;
        self.recent.forget();
    }

    /// Whether the log holds exactly this batch already, where it says it is.
    ///
    /// # Errors
    /// What storage reports.
    pub fn holds(
        &mut self,
        imports: &mut impl Imports,
        batch: &[Event<'_>],
    ) -> Result<bool, Fault> {
        let mut rest = batch;
        while let Some(first) = rest.first() {
            let stored = imports
                .read(
                    first.parent_seq_num,
                    u32::try_from(rest.len()).unwrap_or(u32::MAX),
                    u32::try_from(CHUNK_BYTES_MAX).unwrap_or(u32::MAX),
                )
                .map_err(|error| report(imports, "read", error))?;
            if stored.is_empty() || !stored.iter().zip(rest).all(|(a, b)| is_same(&a.event(), b)) {
                return Ok(false);
            }
            rest = rest.get(stored.len()..).unwrap_or_default();
        }
        Ok(true)
    }

    /// Empties the log; returns the backend id it had and the one it has.
    ///
    /// # Errors
    /// What storage reports.
    pub fn reset(&mut self, imports: &mut impl Imports) -> Result<(String, String), Fault> {
        let before = self.info(imports)?;
        let backend_id = new_backend_id(imports);
        imports
            .reset(&backend_id)
            .map_err(|error| report(imports, "reset", error))?;
        self.recent.forget();
        self.info = Some(LogInfo {
            head: 0,
            backend_id: backend_id.clone(),
        });
        Ok((before.backend_id, backend_id))
    }
}

/// Whether two events are one. 0.3 clients keep absent arguments as an empty
/// object, and push them as that after a restart.
fn is_same(stored: &Event<'_>, pushed: &Event<'_>) -> bool {
    let args_equal =
        stored.args == pushed.args || (stored.args.is_none() && pushed.args == Some("{}"));
    args_equal
        && Event {
            args: None,
            ..*stored
        } == Event {
            args: None,
            ..*pushed
        }
}

fn open(imports: &mut impl Imports) -> Result<LogInfo, Fault> {
    let new_backend_id = new_backend_id(imports);
    imports
        .open(&new_backend_id)
        .map_err(|error| report(imports, "open", error))
}

fn report_overtaken(imports: &mut impl Imports, believed: u64, actual: u64) {
    let reason = if actual < believed {
        "it was restored from a backup, or emptied, while this server used it: clients that are ahead of it keep events that nobody else has (PROTOCOL.md, \"Ahead of the log\")"
    } else {
        "another writer?"
    };
    let text = format!("the log's head is {actual}, not {believed}: {reason}");
    imports.log(Level::Warn, &text);
}

fn report(imports: &mut impl Imports, action: &str, error: StorageError) -> Fault {
    imports.log(Level::Error, &format!("event log, {action}: {error}"));
    error.into()
}

/// A backend id like upstream's: a nanoid, 21 characters of 64
/// (`@livestore/sync-cf` 0.4.0, `src/cf-worker/do/layer.ts`).
fn new_backend_id(imports: &mut impl Imports) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut random = [0; 21];
    imports.random(&mut random);
    random
        .iter()
        .filter_map(|byte| ALPHABET.get(usize::from(byte & 63)))
        .map(|&letter| char::from(letter))
        .collect()
}
