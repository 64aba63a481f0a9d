//! What a durable push cannot be faster than here: a commit of one row that
//! is on the disk, a message there and back, and one after the other. They
//! are done with the libraries that Syncline uses, and with nothing else, so
//! what a server takes more is its own.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use futures_util::{SinkExt, StreamExt};
use rusqlite::{Connection, params};
use syncline_tests::process::Process;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{accept_async, client_async};

use crate::meter::{Done, Gauge, Latencies, Measured, Meter};
use crate::scenarios::TIME_MIN;

/// Before those that count.
const WARM_UP: u64 = 50;

const READY_TIMEOUT: Duration = Duration::from_secs(10);

/// As long as a frame with a push of one event.
const MESSAGE_BYTES: usize = 560;

/// As long as an event's `args`.
const ARGS_BYTES: usize = 110;

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

/// What is measured beside the servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Floor {
    /// A row, committed to the disk.
    Commit,
    /// A WebSocket message to another process and back.
    Echo,
    /// The same, with the commit between.
    CommitAndEcho,
}

/// What the process that echoes does with a message first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Echo {
    /// Nothing.
    Plain,
    /// Commits a row.
    Commit,
}

impl Floor {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Commit, Self::Echo, Self::CommitAndEcho];

    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Commit => "floor: commit",
            Self::Echo => "floor: echo",
            Self::CommitAndEcho => "floor: commit + echo",
        }
    }

    /// Measures it.
    ///
    /// # Errors
    /// When it fails.
    pub async fn measure(self) -> Result<Measured> {
        match self {
            Self::Commit => commits(),
            Self::Echo => echoes(Echo::Plain).await,
            Self::CommitAndEcho => echoes(Echo::Commit).await,
        }
    }
}

/// A table of events on the disk, as Syncline's local host opens its files.
struct Log {
    connection: Connection,
    head: i64,
    args: String,
}

impl Log {
    fn create(dir: &Path) -> Result<Self> {
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

    /// One row, in a transaction of its own.
    fn append(&mut self) -> rusqlite::Result<()> {
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

/// By this process, whose time is the generator's.
fn commits() -> Result<Measured> {
    let dir = tempfile::tempdir()?;
    let mut log = Log::create(dir.path())?;
    for _ in 0..WARM_UP {
        log.append()?;
    }
    let mut latencies = Latencies::new("of a commit")?;
    let meter = Meter::start(Gauge::new(false));
    while meter.started.elapsed() < TIME_MIN {
        let started = Instant::now();
        log.append()?;
        latencies.record(started.elapsed())?;
    }
    finish(meter, "commits", latencies)
}

/// By another process, as a server is.
async fn echoes(echo: Echo) -> Result<Measured> {
    let dir = tempfile::tempdir()?;
    let name = echo.to_possible_value().context("every echo has a name")?;
    let mut command = std::process::Command::new(std::env::current_exe()?);
    command
        .args(["--echo", name.get_name()])
        .current_dir(dir.path());
    let mut process = Process::start(command)?;
    let address = process.wait_for(READY_TIMEOUT, |line| {
        Some(line.strip_prefix("echoes on ")?.to_owned())
    })?;
    let gauge = Gauge::new(true);
    let tcp = TcpStream::connect(&address).await?;
    tcp.set_nodelay(true)?;
    let (mut socket, _) = client_async(format!("ws://{address}/"), tcp).await?;
    let message = Message::text("x".repeat(MESSAGE_BYTES));
    let mut round_trip = async || {
        let started = Instant::now();
        socket.send(message.clone()).await?;
        let answer = socket.next().await.context("the echo is gone")??;
        ensure!(answer == message, "what came back is not what was sent");
        Ok::<_, anyhow::Error>(started.elapsed())
    };
    for _ in 0..WARM_UP {
        round_trip().await?;
    }
    let mut latencies = Latencies::new("from a message sent to the same read")?;
    let meter = Meter::start(gauge);
    while meter.started.elapsed() < TIME_MIN {
        latencies.record(round_trip().await?)?;
    }
    finish(meter, "round trips", latencies)
}

fn finish(meter: Meter, operation: &'static str, latencies: Latencies) -> Result<Measured> {
    let elapsed = meter.started.elapsed();
    meter.finish(Done {
        operations: latencies.histogram.len(),
        operation,
        elapsed,
        latencies,
        is_cut_short: false,
    })
}

/// Serves one client until it goes: what the other process does.
///
/// # Errors
/// When a message cannot be answered.
pub async fn serve(echo: Echo) -> Result<()> {
    let mut log = match echo {
        Echo::Plain => None,
        Echo::Commit => Some(Log::create(Path::new("."))?),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("echoes on {}", listener.local_addr()?);
    let (tcp, _) = listener.accept().await?;
    tcp.set_nodelay(true)?;
    let mut socket = accept_async(tcp).await?;
    while let Some(message) = socket.next().await {
        match message? {
            Message::Text(text) => {
                if let Some(log) = &mut log {
                    log.append()?;
                }
                socket.send(Message::Text(text)).await?;
            }
            Message::Close(_) => break,
            other => bail!("not a message of the bench: {other:?}"),
        }
    }
    Ok(())
}
