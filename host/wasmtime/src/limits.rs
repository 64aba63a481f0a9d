//! The host's limits, each a flag of `syncline serve`. What the protocol
//! itself bounds is the guest's (`guest/src/limits.rs`).

use std::time::Duration;

use clap::{Args, Parser};

/// Cloudflare's limit on a message received, in bytes.
pub const FRAME_BYTES_MAX: usize = 32 * 1024 * 1024;

/// What waiting input may take: a quarter of a small machine's memory, twice.
const INPUT_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Below this, real clients' largest pushes would wait for one another.
const INPUT_BYTES_MIN: usize = 16 * 1024 * 1024;

/// What waiting output may take.
const OUTPUT_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Below this, a single turn's frames could be too much.
const OUTPUT_BYTES_MIN: usize = 16 * 1024 * 1024;

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
    /// Rooms that are awake at once: beyond them the one that rested longest
    /// sleeps, its sockets stay. Each takes 120 KiB or more and five memory
    /// mappings (`vm.max_map_count`)
    #[arg(long, value_name = "N", default_value_t = 8_000, value_parser = positive(1_000_000))]
    pub rooms_awake_max: usize,
    /// Memory that WebSocket messages may take from their first byte to the
    /// end of their turn, and as much again that requests' bodies may: beyond
    /// it clients are not read, and after 30 s told to come back (1013, 503)
    #[arg(long, value_name = "BYTES", default_value_t = INPUT_BYTES_MAX, value_parser = at_least(INPUT_BYTES_MIN))]
    pub input_bytes_max: usize,
    /// Memory that frames and answers may take while clients do not: beyond it
    /// sockets that hold the most are closed with 1013, and large answers
    /// refused with 503
    #[arg(long, value_name = "BYTES", default_value_t = OUTPUT_BYTES_MAX, value_parser = at_least(OUTPUT_BYTES_MIN))]
    pub output_bytes_max: usize,
    /// Bytes of a WebSocket message or of a request's body; a larger one is
    /// refused, and its socket closed with 1009
    #[arg(long, value_name = "BYTES", default_value_t = FRAME_BYTES_MAX, value_parser = positive(FRAME_BYTES_MAX))]
    pub frame_bytes_max: usize,
    /// How long a client may take from connecting to a whole request head, and
    /// on a kept-alive connection from a head's first byte to its end
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = humantime::parse_duration)]
    pub handshake_timeout: Duration,
    /// How long an HTTP connection is kept without a request: longer than
    /// proxies keep theirs, most of them 60 s, so that they never use one that
    /// is closing. When places run short, those that are idle longest go first
    #[arg(long, value_name = "DURATION", default_value = "75s", value_parser = humantime::parse_duration)]
    pub keep_alive_timeout: Duration,
    /// How long a message or a body may take to arrive once it has begun, and
    /// an HTTP client to take 64 KiB of its answer
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

/// Parses a number of bytes from `min` on.
fn at_least(min: usize) -> impl Fn(&str) -> Result<usize, String> + Clone {
    move |text| match text.parse() {
        Ok(number) if number >= min => Ok(number),
        _ => Err(format!("a number of bytes is due, at least {min}")),
    }
}

/// Parses a number from 1 to `max`.
fn positive(max: usize) -> impl Fn(&str) -> Result<usize, String> + Clone {
    move |text| match text.parse() {
        Ok(number) if (1..=max).contains(&number) => Ok(number),
        _ => Err(format!("a number from 1 to {max} is due")),
    }
}
