//! The `syncline` binary: arguments in, library called, errors out.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anstream::{AutoStream, ColorChoice};
use anyhow::{Context, Result, bail};
use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};
use syncline::command::config;
use syncline::command::doctor::{self, Doctor};
use syncline::command::operator::{self, OperatorError};
use syncline::command::serve::{LogFormat, Serve, Services};
use syncline::command::token::{self, Workspace};
use syncline::{
    App, Assets, ClaimsFile, Equipment, Gateway, Listeners, Location, OTHERS_MAX, Objects, Quotas,
    Runtime, Shards, Started, Summary, Telemetry, Variable, Wanted, create_directory, machine,
    serve_metrics,
};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use tracing::{Level, info, warn};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

/// A sync backend for LiveStore.
#[derive(Parser)]
#[command(
    version,
    about,
    after_help = "Configuration comes from the environment: `syncline serve --help` lists the variables."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve LiveStore clients.
    Serve(Box<Serve>),
    /// Check a configuration, without starting a server, or with --url a
    /// server that runs: what is wrong, and what to do.
    Doctor(Box<Doctor>),
    /// Mint a token for development, signed with JWT_SECRET.
    Token(Token),
    /// Give every store a new backend id, after a backup was put back: its
    /// clients start anew. With the server stopped.
    Restored {
        /// The data directory.
        dir: PathBuf,
    },
    /// Copy one store into a new SQLite file, in the format of
    /// @livestore/sync-cf. Also while the server runs.
    Export {
        /// The data directory.
        dir: PathBuf,
        /// The store's id.
        store: String,
        /// The file to make.
        file: PathBuf,
    },
    /// Delete one store's events: its clients start anew. With the server
    /// stopped.
    Delete {
        /// The data directory.
        dir: PathBuf,
        /// The store's id.
        store: String,
    },
}

#[derive(Args)]
struct Token {
    /// The user's id.
    #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    user: String,
    /// A workspace the user may enter; may be given several times.
    #[arg(long, required = true, value_name = "W[:role]")]
    workspace: Vec<Workspace>,
    /// How long the token is valid.
    #[arg(long, default_value = "15m", value_parser = parse_ttl)]
    ttl: Duration,
    /// The token's workspaceClaimsVersion.
    #[arg(long, default_value_t = 1)]
    claims_version: u64,
}

/// Begins the log.
fn log(format: LogFormat) {
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    let lines = match format {
        LogFormat::Text => lines
            .with_ansi(AutoStream::choice(&io::stderr()) != ColorChoice::Never)
            .boxed(),
        LogFormat::Json => lines
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .boxed(),
    };
    tracing_subscriber::registry()
        .with(EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info")))
        .with(filter_fn(|metadata| {
            *metadata.level() <= Level::INFO || !is_library(metadata.target())
        }))
        .with(lines)
        .init();
}

/// A program reads the log of a server that nobody looks at; the other
/// commands are people's.
fn log_format(command: &Command) -> LogFormat {
    match command {
        Command::Serve(serve) => serve.log_format.unwrap_or_else(|| {
            if io::stderr().is_terminal() {
                LogFormat::Text
            } else {
                LogFormat::Json
            }
        }),
        _ => LogFormat::Text,
    }
}

fn main() -> ExitCode {
    let command = arguments().command;
    log(log_format(&command));
    let result = match command {
        Command::Doctor(arguments) => return doctor::run(&arguments),
        Command::Serve(arguments) => serve(&arguments),
        Command::Token(arguments) => mint(&arguments),
        Command::Restored { dir } => operate(|| {
            let stores = operator::restored(&dir)?;
            Ok(format!(
                "{stores} stores have a new backend id: their clients start anew"
            ))
        }),
        Command::Export { dir, store, file } => operate(|| {
            let events = operator::export(&dir, &store, &file)?;
            Ok(format!("{events} events are in {}", file.display()))
        }),
        Command::Delete { dir, store } => operate(|| {
            operator::delete(&dir, &store)?;
            Ok(format!("{store} is empty: its clients start anew"))
        }),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "syncline: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The command line. Whoever asks for help is told of the variables too, which
/// the component knows.
fn arguments() -> Cli {
    Cli::try_parse().unwrap_or_else(|error| {
        if error.kind() != ErrorKind::DisplayHelp {
            error.exit();
        }
        let none = |_: &[Variable]| Ok::<_, String>(BTreeMap::new());
        let variables = match Runtime::new(
            None,
            none,
            ClaimsFile::new(None),
            Quotas::new(&Location::Memory),
            Telemetry::off(),
        ) {
            Ok(runtime) => config::help(&runtime.terms().variables),
            Err(error) => format!("The variables cannot be listed: {error:#}"),
        };
        let command = Cli::command().mut_subcommand("serve", |it| it.after_help(variables));
        let command = command.mut_subcommand("doctor", |it| it.after_help(doctor::HELP));
        command.get_matches();
        error.exit()
    })
}

/// Libraries that would log whole frames, or the compiler's insides: whatever
/// `RUST_LOG` says, they do not.
fn is_library(target: &str) -> bool {
    const LIBRARIES: [&str; 6] = [
        "tungstenite",
        "hyper",
        "cranelift",
        "opentelemetry",
        "regalloc2",
        "wasmtime",
    ];
    LIBRARIES.iter().any(|library| target.starts_with(library))
}

fn serve(arguments: &Serve) -> Result<()> {
    let claims = ClaimsFile::new(arguments.claims_versions.clone());
    // A file that cannot be read now would refuse every client later.
    claims
        .current_version("")
        .map_err(anyhow::Error::msg)
        .context("--claims-versions")?;
    let equipment = equip(arguments)?;
    let tools = arguments.read_llm_tools();
    let tools = tools.context("--llm-tools cannot be read")?;
    let there = Services {
        images: equipment.objects.is_some(),
        assets: equipment.assets.is_some(),
    };
    let is_exposed = arguments.metrics || arguments.metrics_listen.is_some();
    let started = Started::begin(Wanted::from_env(is_exposed))?;
    let telemetry = started.telemetry().clone();
    let is_told = telemetry.is_on();
    let env = |read: &[Variable]| {
        let mut env = arguments.environment(read, there, tools)?;
        config::set_telemetry(&mut env, is_told);
        Ok::<_, config::EnvError>(env)
    };
    let quotas = Quotas::new(&arguments.storage);
    let runtime = Runtime::new(
        arguments.component.as_deref(),
        env,
        claims,
        quotas,
        telemetry,
    )?;
    let (gateway, summary) = Gateway::new(&runtime)?;
    let _lock = match &arguments.storage {
        Location::Sqlite(dir) => Some(create_directory(dir)?),
        Location::Memory => None,
    };
    let mut limits = arguments.limits.clone();
    machine::raise_file_limit(limits.connections_max + OTHERS_MAX)
        .context("cannot raise the limit on open files")?;
    limits.rooms_awake_max = machine::rooms_awake_max(limits.rooms_awake_max);
    let shards = Shards::start(&runtime, &arguments.storage, &limits)?;
    let served = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(async {
            let listeners = Listeners::bind(&arguments.listen).await?;
            // Whoever reads that it listens may stop it at once.
            let stop = signalled();
            let collecting = metrics(arguments, &started).await?;
            announce(arguments, &listeners, &summary)?;
            let app = App::new(gateway, shards, limits, equipment);
            if let Some(exposition) = started.exposition().filter(|_| arguments.metrics) {
                app.expose(exposition.clone());
            }
            app.serve(listeners, stop).await;
            collecting.inspect(JoinHandle::abort);
            Ok(())
        });
    started.stop();
    served
}

/// Serves the metrics on a listener of their own, if that is wanted.
async fn metrics(arguments: &Serve, started: &Started) -> Result<Option<JoinHandle<()>>> {
    if arguments.metrics && !arguments.listen.is_loopback() {
        warn!(
            event = "configuration",
            "--metrics: everybody who reaches the server reads its metrics. --metrics-listen has them on a listener of their own"
        );
    }
    let (Some(listen), Some(exposition)) = (&arguments.metrics_listen, started.exposition()) else {
        return Ok(None);
    };
    let listeners = Listeners::bind(listen).await.context("--metrics-listen")?;
    if !listen.is_loopback() {
        warn!(
            event = "configuration",
            "--metrics-listen: the metrics are read by everybody who reaches {listeners}"
        );
    }
    info!(
        event = "listening",
        "metrics are served on {listeners}/metrics"
    );
    Ok(Some(tokio::spawn(serve_metrics(
        listeners,
        exposition.clone(),
    ))))
}

/// What there is for the services.
fn equip(arguments: &Serve) -> Result<Equipment> {
    let objects = arguments.images.as_ref().map(Objects::open);
    let objects = objects.transpose().context("--images")?;
    let assets = arguments.assets.as_deref().map(Assets::open);
    let assets = assets.transpose().context("--assets")?;
    if let Some(assets) = &assets
        && !assets.has_index()
    {
        warn!(
            event = "configuration",
            "--assets has no index.html: whoever opens the app sees nothing"
        );
    }
    Ok(Equipment { objects, assets })
}

fn announce(arguments: &Serve, listeners: &Listeners, summary: &Summary) -> Result<()> {
    for warning in &summary.warnings {
        warn!(event = "configuration", "{warning}");
    }
    if !summary.auth_required && !arguments.listen.is_loopback() {
        warn!(
            event = "configuration",
            "Listening on {listeners}, beyond this machine, without authentication."
        );
    }
    let mut stdout = io::stdout();
    writeln!(
        stdout,
        "syncline listens on {listeners} | {} | storage: {} | auth: {}",
        summary.environment, arguments.storage, summary.authentication
    )?;
    for service in &summary.services {
        writeln!(stdout, "  {service}")?;
    }
    stdout.flush()?;
    Ok(())
}

/// From now on waits for the first SIGTERM or SIGINT.
fn signalled() -> impl Future<Output = ()> + Send + 'static {
    let signals = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    );
    async {
        match signals {
            (Ok(mut terminate), Ok(mut interrupt)) => {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
            }
            _ => {
                warn!(
                    event = "configuration",
                    "signals cannot be handled; the server stops only when it is killed"
                );
                std::future::pending::<()>().await;
            }
        }
    }
}

/// A token's time: at most ten years, beyond which a typing error is likelier.
fn parse_ttl(text: &str) -> Result<Duration, String> {
    const TTL_MAX: Duration = Duration::from_secs(10 * 365 * 86_400);
    let ttl = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if ttl > TTL_MAX {
        return Err("at most ten years".to_owned());
    }
    Ok(ttl)
}

fn operate(command: impl FnOnce() -> Result<String, OperatorError>) -> Result<()> {
    writeln!(io::stdout(), "{}", command()?)?;
    Ok(())
}

fn mint(arguments: &Token) -> Result<()> {
    let secret = Variable {
        name: "JWT_SECRET".to_owned(),
        help: Some("what tokens are signed with".to_owned()),
    };
    let env = config::environment(Path::new("."), &[secret])?;
    let Some(secret) = env.get("JWT_SECRET").filter(|secret| !secret.is_empty()) else {
        bail!(
            "JWT_SECRET is not set: put JWT_SECRET=… into .dev.vars here, or into the environment"
        );
    };
    let token = token::mint(
        secret,
        &arguments.user,
        &arguments.workspace,
        arguments.claims_version,
        arguments.ttl,
    )?;
    // Apart from the token, which a script may read.
    writeln!(
        io::stderr(),
        "a token for user {:?}, valid for {}, claims version {}, for",
        arguments.user,
        humantime::format_duration(arguments.ttl),
        arguments.claims_version,
    )?;
    for workspace in &arguments.workspace {
        writeln!(io::stderr(), "  {workspace}")?;
    }
    writeln!(io::stdout(), "{token}")?;
    Ok(())
}
