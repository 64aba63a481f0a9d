//! The host's limits, each a flag of `syncline serve`. What the protocol
//! itself bounds is the guest's (`guest/src/limits.rs`).

use std::time::Duration;

use clap::{Args, Parser};

/// Cloudflare's limit on a message received, in bytes.
pub const FRAME_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Cloudflare's limit on the sockets of one object.
const STORE_CONNECTIONS_MAX: usize = 32_768;

/// What one server lets its clients take.
#[derive(Debug, Clone, Args)]
pub struct Limits {
    /// WebSockets in all; one more is closed with 1013. Each is a file
    /// descriptor: the limit on open files is raised as far as it may be
    #[arg(long, value_name = "N", default_value_t = 16_000, value_parser = positive(1_000_000))]
    pub connections_max: usize,
    /// WebSockets of one store; one more is closed with 1013
    #[arg(long, value_name = "N", default_value_t = 5_000, value_parser = positive(STORE_CONNECTIONS_MAX))]
    pub store_connections_max: usize,
    /// Bytes of a WebSocket message or of a request's body; a larger one is
    /// refused, and its socket closed with 1009
    #[arg(long, value_name = "BYTES", default_value_t = FRAME_BYTES_MAX, value_parser = positive(FRAME_BYTES_MAX))]
    pub frame_bytes_max: usize,
    /// How long a client may take from connecting to a whole request head,
    /// and a kept-alive connection may be without a request
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = humantime::parse_duration)]
    pub handshake_timeout: Duration,
    /// How long a message or a body may take to arrive once it has begun
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = humantime::parse_duration)]
    pub message_timeout: Duration,
    /// How long a WebSocket may be silent: half of that later it is sent a
    /// ping, which clients answer by themselves, and in the end it is dropped
    #[arg(long, value_name = "DURATION", default_value = "90s", value_parser = humantime::parse_duration)]
    pub idle_timeout: Duration,
    /// How long a room keeps its memory without an event; `0s` lets it go
    /// after every turn
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = humantime::parse_duration)]
    pub room_idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        /// No flags at all.
        #[derive(Parser)]
        struct Flags {
            #[command(flatten)]
            limits: Limits,
        }
        Flags::parse_from(["syncline"]).limits
    }
}

/// Parses a number from 1 to `max`.
fn positive(max: usize) -> impl Fn(&str) -> Result<usize, String> + Clone {
    move |text| match text.parse() {
        Ok(number) if (1..=max).contains(&number) => Ok(number),
        _ => Err(format!("a number from 1 to {max} is due")),
    }
}
