//! Measures servers that speak the 0.4 WebSocket protocol, and compares them:
//! what they get through, how long answers take, what they cost.
//!
//! ```bash
//! cargo bench -p syncline-tests --bench servers -- --help
//! cargo bench -p syncline-tests --bench servers -- --server original-0.4.0-workerd,wasmtime-sqlite
//! cargo bench -p syncline-tests --bench servers -- --url http://127.0.0.1:8787 --scenario fan-out
//! ```
//!
//! One server runs at a time, on loopback, and every scenario has a process
//! of its own with fresh state, so that its memory is that scenario's; a
//! server at a URL is somebody else's and gets stores that are new to it.
//! Servers of a run share the machine with the generator, so that numbers of
//! different machines do not compare, and the ratios of one run do. Nor do
//! successes of different durability: the report says what each is worth.
//!
//! The generator is one thread: it must not take from a server what it
//! measures. Its own share of a core is reported, since a server that is
//! faster than the generator is not measured but by its CPU time.

mod client;
mod descriptors;
mod floors;
mod meter;
mod report;
mod scenarios;
mod servers;
mod usage;
mod workerd;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::{Parser, ValueEnum};
use tokio::signal::unix::{Signal, SignalKind, signal};

use client::Address;
use floors::{Floor, Peer};
use meter::{Gauge, Whose};
use report::{FloorReport, Report, ScenarioReport, ServerReport};
use scenarios::{Scenario, Target};
use servers::{Durability, Known, Running, Startable};

/// Measures servers that speak LiveStore's 0.4 WebSocket protocol, one after
/// another, and compares them with the first.
#[derive(Debug, Parser)]
#[command(name = "servers")]
struct Arguments {
    /// Servers to start and measure, comma-separated; all of them if no
    /// server and no URL is named
    #[arg(long, value_delimiter = ',')]
    server: Vec<Known>,
    /// A running server without authentication, measured after those of
    /// --server; may be repeated
    #[arg(long)]
    url: Vec<String>,
    /// What to measure, comma-separated; everything if absent
    #[arg(long, value_delimiter = ',')]
    scenario: Vec<Scenario>,
    /// Where the results go as JSON, relative to the `tests` folder; `-` is
    /// stdout
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Be the process that a floor is measured with, see `floors/peer.rs`.
    #[arg(long, hide = true)]
    peer: Option<Peer>,
    /// Cargo passes this to every bench.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What is to be measured.
enum Subject {
    Known(Known),
    Url(String, Address),
}

fn main() -> ExitCode {
    let result = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(run(Arguments::parse())));
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<ExitCode> {
    if let Some(peer) = arguments.peer {
        peer.serve().await?;
        return Ok(ExitCode::SUCCESS);
    }
    let scenarios = match arguments.scenario.as_slice() {
        [] => Scenario::value_variants(),
        scenarios => scenarios,
    };
    // Every argument is looked at before the first server takes its minutes.
    let subjects = subjects(&arguments)?;
    descriptors::raise_limit();
    let mut interrupts = Interrupts::new()?;
    let mut report = Report {
        cpus: std::thread::available_parallelism()?.get(),
        ..Report::default()
    };
    let measuring = async {
        for floor in Floor::ALL {
            if scenarios.contains(&floor.scenario()) {
                eprintln!("{}: {}", floor.name(), floor.scenario().name());
                let measured = floor.measure().await;
                report.floors.push(FloorReport::new(floor, measured));
            }
        }
        for subject in &subjects {
            report.servers.push(measure(subject, scenarios).await);
        }
    };
    tokio::select! {
        () = measuring => {}
        () = interrupts.next() => bail!("interrupted"),
    }
    report.compare();
    println!("{}", report.table(scenarios));
    if let Some(file) = &arguments.json {
        report.write_json(file)?;
    }
    Ok(if report.has_failures() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn subjects(arguments: &Arguments) -> Result<Vec<Subject>> {
    let servers = match arguments.server.as_slice() {
        [] if arguments.url.is_empty() => Known::value_variants(),
        servers => servers,
    };
    let known = servers.iter().map(|server| Ok(Subject::Known(*server)));
    let urls = arguments
        .url
        .iter()
        .map(|url| Ok(Subject::Url(url.clone(), Address::parse(url)?)));
    known.chain(urls).collect()
}

/// Measures one server. What fails stands in the report: the others are
/// measured all the same.
async fn measure(subject: &Subject, scenarios: &[Scenario]) -> ServerReport {
    let mut report = match subject {
        Subject::Known(server) => ServerReport::new(server.name(), server.durability()),
        Subject::Url(url, _) => ServerReport::new(url.clone(), Durability::Unknown),
    };
    if let Err(error) = measure_all(subject, scenarios, &mut report).await {
        report.error = Some(format!("{error:#}"));
    }
    report
}

async fn measure_all(
    subject: &Subject,
    scenarios: &[Scenario],
    report: &mut ServerReport,
) -> Result<()> {
    let built = match subject {
        Subject::Known(server) => Some(server.build()?),
        Subject::Url(..) => None,
    };
    for scenario in scenarios {
        eprintln!("{}: {}", report.server, scenario.name());
        // Stopped, with its data, before the next one starts.
        let running = built.as_ref().map(Startable::start).transpose()?;
        let url = running.as_ref().map(|it: &Running| Address::parse(&it.url));
        let address = match (url, subject) {
            (Some(address), _) => address?,
            (None, Subject::Url(_, address)) => address.clone(),
            (None, Subject::Known(_)) => bail!("a server of ours runs at an address"),
        };
        let target = Target {
            address: &address,
            gauge: Gauge::new(match subject {
                Subject::Known(_) => Whose::Ours,
                Subject::Url(..) => Whose::Theirs,
            }),
        };
        let result = scenario.run(&target).await;
        report
            .scenarios
            .push(ScenarioReport::new(scenario.name(), result));
    }
    Ok(())
}

/// SIGINT and SIGTERM. Left to themselves they would end this process and
/// leave the server behind, which is in a process group of its own.
struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
}

impl Interrupts {
    fn new() -> Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
