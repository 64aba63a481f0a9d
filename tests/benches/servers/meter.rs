//! Taking the time of something, and what it cost meanwhile.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use hdrhistogram::Histogram;

use crate::usage::{self, Usage};

/// Latencies of one kind.
#[derive(Clone)]
pub struct Latencies {
    /// From what to what.
    pub of: &'static str,
    /// In nanoseconds.
    pub histogram: Histogram<u64>,
}

impl Latencies {
    /// None yet.
    ///
    /// # Errors
    /// Never: three digits are possible.
    pub fn new(of: &'static str) -> Result<Self> {
        Ok(Self {
            of,
            histogram: Histogram::new(3)?,
        })
    }

    /// One more.
    ///
    /// # Errors
    /// When it is longer than a count of nanoseconds can be.
    pub fn record(&mut self, latency: Duration) -> Result<()> {
        Ok(self.histogram.record(u64::try_from(latency.as_nanos())?)?)
    }
}

/// What was done.
pub struct Done {
    /// How many operations.
    pub operations: u64,
    /// What an operation is.
    pub operation: &'static str,
    /// The time they took.
    pub elapsed: Duration,
    /// How long each took.
    pub latencies: Latencies,
    /// Whether time ran out before everything was done.
    pub is_cut_short: bool,
}

/// A number that only some scenarios have.
pub struct Figure {
    /// What it says.
    pub what: &'static str,
    /// The number.
    pub value: f64,
    /// Its unit.
    pub unit: &'static str,
}

/// The memory of the server's processes, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    /// Before the first client came.
    pub idle: u64,
    /// Before what was measured.
    pub before: u64,
    /// After it.
    pub after: u64,
    /// The most that there was meanwhile.
    pub peak: u64,
}

/// What was measured.
pub struct Measured {
    /// What was done.
    pub done: Done,
    /// Other latencies than the operations' own.
    pub more_latencies: Vec<Latencies>,
    /// Numbers that are this scenario's own.
    pub figures: Vec<Figure>,
    /// What has to be known about it, for people.
    pub remarks: Vec<String>,
    /// The server's time meanwhile, where it is ours to look at.
    pub server_cpu: Option<Duration>,
    /// The server's memory, where it is ours to look at.
    pub memory: Option<Memory>,
    /// The generator's own time: near to the time measured, it was the limit.
    pub generator: Option<Duration>,
    /// What everyone else on the machine used meanwhile: much of it, and the
    /// times say little.
    pub others: Option<Duration>,
}

impl Measured {
    /// Adds a figure.
    pub fn figure(&mut self, what: &'static str, value: f64, unit: &'static str) {
        self.figures.push(Figure { what, value, unit });
    }
}

/// Exact for every count there is here: far below 2^53.
pub fn float(count: u64) -> f64 {
    count as f64
}

/// Bytes in MiB.
pub fn mebibytes(bytes: u64) -> f64 {
    float(bytes) / f64::from(1 << 20)
}

/// What each of so many has taken of the memory, in KiB.
pub fn kibibytes_each(before: u64, after: u64, count: u64) -> f64 {
    (float(after) - float(before)) / float(count) / 1024.0
}

/// Whose processes serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// The bench has started them.
    Ours,
    /// Somebody else has, here or elsewhere.
    Theirs,
    /// There are none.
    Nobodys,
}

/// What a server's processes use, where they are ours to look at.
#[derive(Debug, Clone, Copy)]
pub struct Gauge {
    whose: Whose,
    /// Before the first client came.
    idle: Option<Usage>,
}

impl Gauge {
    /// Of a server that has no client yet.
    pub fn new(whose: Whose) -> Self {
        let idle = match whose {
            Whose::Ours => usage::of_servers(),
            Whose::Theirs | Whose::Nobodys => None,
        };
        Self { whose, idle }
    }

    /// The memory that is resident now.
    pub fn resident_bytes(&self) -> Option<u64> {
        Some(self.usage()?.resident_bytes)
    }

    /// The memory that was resident before the first client came.
    pub fn idle_bytes(&self) -> Option<u64> {
        Some(self.idle?.resident_bytes)
    }

    fn usage(&self) -> Option<Usage> {
        (self.whose == Whose::Ours)
            .then(usage::of_servers)
            .flatten()
    }
}

/// Takes the time of what runs between its start and its finish.
pub struct Meter {
    gauge: Gauge,
    server: Option<Usage>,
    generator: Option<Duration>,
    machine: Option<Duration>,
    /// When it began.
    pub started: Instant,
}

impl Meter {
    /// Begins.
    pub fn start(gauge: Gauge) -> Self {
        if gauge.whose == Whose::Ours {
            usage::forget_peaks();
        }
        Self {
            gauge,
            machine: usage::of_machine(),
            server: gauge.usage(),
            generator: usage::of_generator(),
            // Last: reading /proc takes time.
            started: Instant::now(),
        }
    }

    /// Ends.
    ///
    /// # Errors
    /// When nothing was done.
    pub fn finish(self, done: Done) -> Result<Measured> {
        let since = |before: Option<Duration>, after: Option<Duration>| {
            Some(after?.saturating_sub(before?))
        };
        let generator = since(self.generator, usage::of_generator());
        let after = self.gauge.usage();
        let cpu = since(self.server.map(|it| it.cpu), after.map(|it| it.cpu));
        let machine = since(self.machine, usage::of_machine());
        let not_others = match self.gauge.whose {
            Whose::Ours | Whose::Theirs => cpu,
            Whose::Nobodys => Some(Duration::ZERO),
        };
        ensure!(done.operations > 0, "nothing was done in time");
        let memory = || {
            let after = after?;
            Some(Memory {
                idle: self.gauge.idle?.resident_bytes,
                before: self.server?.resident_bytes,
                after: after.resident_bytes,
                peak: after.peak_bytes,
            })
        };
        Ok(Measured {
            done,
            more_latencies: Vec::new(),
            figures: Vec::new(),
            remarks: Vec::new(),
            server_cpu: cpu,
            memory: memory(),
            generator,
            others: since(generator, since(not_others, machine)),
        })
    }
}
