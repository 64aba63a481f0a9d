//! What `syncline serve` is told: its flags, and the variables that they and
//! the environment make.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::config::{self, EnvError};
use crate::contract::Variable;
use crate::limits::Limits;
use crate::net::listen::Listen;
use crate::services::objects::ObjectPlace;
use crate::storage::Location;

/// The flags of `syncline serve`.
#[derive(Debug, Clone, Args)]
pub struct Serve {
    /// Where to listen, on all addresses that a name has. Port 0 lets the
    /// system choose.
    #[arg(long, default_value = "127.0.0.1:8787", value_name = "HOST:PORT")]
    pub listen: Listen,
    /// Where to keep the logs: `sqlite:DIR` or `memory`.
    #[arg(long, default_value = "sqlite:./data")]
    pub storage: Location,
    /// Run this component instead of the built-in one.
    #[arg(long, value_name = "FILE")]
    pub component: Option<PathBuf>,
    /// Current workspace claims versions, as a JSON object by user id.
    #[arg(long, value_name = "FILE")]
    pub claims_versions: Option<PathBuf>,
    /// Store images: in a directory, or in a bucket of S3 or R2, whose region,
    /// endpoint and keys the usual variables have (AWS_REGION,
    /// AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, …)
    #[arg(long, value_name = "DIR|s3://BUCKET/PREFIX")]
    pub images: Option<ObjectPlace>,
    /// Serve the app's files to everybody: the directory with its index.html
    #[arg(long, value_name = "DIR")]
    pub assets: Option<PathBuf>,
    /// Definitions of tools that every request of the LLM proxy gets: a JSON
    /// list. Instead of LLM_TOOLS
    #[arg(long, value_name = "FILE")]
    pub llm_tools: Option<PathBuf>,
    /// What clients may take.
    #[command(flatten)]
    pub limits: Limits,
    /// Requests a second of one connection, 0 for any number: more are
    /// refused with a hint when to try again, many more close the socket with
    /// 1013. Instead of CONNECTION_REQUESTS_PER_SECOND; 1000 without both
    #[arg(long, value_name = "N")]
    pub connection_requests_per_second: Option<u32>,
    /// The same of one user in a store. Instead of
    /// PRINCIPAL_REQUESTS_PER_SECOND; 2000 without both
    #[arg(long, value_name = "N")]
    pub principal_requests_per_second: Option<u32>,
    /// Serve metrics for Prometheus at /metrics, to everybody who reaches the
    /// server
    #[arg(long)]
    pub metrics: bool,
    /// Serve metrics for Prometheus at /metrics on a listener of their own
    #[arg(long, value_name = "HOST:PORT")]
    pub metrics_listen: Option<Listen>,
    /// How the log is written, to stderr: `text` for people, `json` for
    /// programs, a line each. Without it `text` on a terminal, else `json`
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
}

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// A JSON object a line, for programs.
    Json,
}

/// Which services the server has what they need for.
#[derive(Debug, Clone, Copy)]
pub struct Services {
    /// An object store.
    pub images: bool,
    /// The app's files.
    pub assets: bool,
}

impl Serve {
    /// The variables for a component that reads these: the environment's, and
    /// what the command line says instead.
    ///
    /// # Errors
    /// What cannot be read.
    pub fn environment(
        &self,
        read: &[Variable],
        services: Services,
        llm_tools: Option<String>,
    ) -> Result<BTreeMap<String, String>, EnvError> {
        let mut env = config::environment(Path::new("."), read)?;
        for (name, rate) in [
            (
                "CONNECTION_REQUESTS_PER_SECOND",
                self.connection_requests_per_second,
            ),
            (
                "PRINCIPAL_REQUESTS_PER_SECOND",
                self.principal_requests_per_second,
            ),
        ] {
            if let Some(rate) = rate {
                env.insert(name.to_owned(), rate.to_string());
            }
        }
        if let Some(tools) = llm_tools {
            env.insert("LLM_TOOLS".to_owned(), tools);
        }
        config::set_reach(&mut env, self.listen.is_loopback());
        config::set_services(&mut env, services.images, services.assets);
        Ok(env)
    }

    /// What `--llm-tools` holds.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read_llm_tools(&self) -> io::Result<Option<String>> {
        self.llm_tools.as_ref().map(fs::read_to_string).transpose()
    }
}
