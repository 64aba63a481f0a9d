//! What a component can do to its host.

use std::hint::black_box;
use std::time::Duration;

use syncline_guest::component::bindings::syncline::backend::{connections, diagnostics};

/// What marks a frame that asks for a misdeed.
const MARK: &str = "hostile:";

/// A way to do harm.
#[derive(Clone, Copy)]
pub enum Misdeed {
    /// Traps.
    Trap,
    /// Panics, with a message that would be a line of the log's.
    Panic,
    /// Ends the program, as WASI has it.
    Exit,
    /// Calls itself until the stack is full.
    Recurse,
    /// Takes all the memory that it is given.
    Grow,
    /// Computes for ever.
    Loop,
    /// Waits for an hour.
    Sleep,
    /// Fills the log, in lines of a megabyte.
    Log,
    /// Fills the log by way of its standard error, with lines and with one
    /// that does not end.
    Complain,
    /// Fills the host's memory with large frames.
    Send,
    /// Returns after 200 MB of large frames.
    SendMuch,
    /// The same with frames of one byte to very many connections.
    SendWide,
    /// The same with attachments.
    AttachOften,
}

impl Misdeed {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "trap" => Self::Trap,
            "panic" => Self::Panic,
            "exit" => Self::Exit,
            "recurse" => Self::Recurse,
            "grow" => Self::Grow,
            "loop" => Self::Loop,
            "sleep" => Self::Sleep,
            "log" => Self::Log,
            "complain" => Self::Complain,
            "send" => Self::Send,
            "send-much" => Self::SendMuch,
            "send-wide" => Self::SendWide,
            "attach-often" => Self::AttachOften,
            _ => return None,
        })
    }

    /// The misdeed that a text asks for, and what follows it after a space.
    pub fn after(text: &str) -> Option<(Self, &str)> {
        let rest = text.strip_prefix(MARK)?;
        let (name, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        Some((Self::named(name)?, rest))
    }

    /// The misdeed that a text asks for.
    pub fn of(text: &str) -> Option<Self> {
        Self::after(text).map(|(misdeed, _)| misdeed)
    }

    /// The misdeed that a body asks for.
    pub fn of_bytes(body: &[u8]) -> Option<Self> {
        Self::of(std::str::from_utf8(body).ok()?)
    }

    /// Commits it; the connections are there to be written to.
    pub fn commit(self, to: &[u32]) {
        match self {
            Self::Trap => core::arch::wasm32::unreachable(),
            Self::Panic => panic!("this is why\na line \u{1b}[31mof red\u{9b}"),
            Self::Exit => std::process::exit(0),
            Self::Recurse => {
                black_box(recurse(1));
                core::arch::wasm32::unreachable()
            }
            Self::Grow => {
                let mut all = Vec::new();
                loop {
                    all.push(black_box(vec![1_u8; 1024 * 1024]));
                }
            }
            Self::Loop => loop {
                black_box(0);
            },
            Self::Sleep => loop {
                std::thread::sleep(Duration::from_secs(3_600));
            },
            Self::Log => {
                let line = "a line\n".repeat(150_000);
                loop {
                    diagnostics::log(diagnostics::Level::Error, &line);
                }
            }
            Self::Complain => {
                let lines = "a line\n".repeat(150_000);
                let endless = "x".repeat(1024 * 1024);
                loop {
                    eprint!("{lines}{endless}");
                }
            }
            Self::Send => {
                let frame = "x".repeat(4 * 1024 * 1024);
                loop {
                    connections::send(to, &frame);
                }
            }
            Self::SendMuch => {
                let frame = "x".repeat(4 * 1024 * 1024);
                for _ in 0..50 {
                    connections::send(to, &frame);
                }
            }
            Self::SendWide => {
                let wide = vec![0; 1024 * 1024];
                for _ in 0..50 {
                    connections::send(&wide, "x");
                }
            }
            Self::AttachOften => {
                let attachment = "x".repeat(16_000);
                for _ in 0..13_000 {
                    for &connection in to {
                        let _ = connections::attach(connection, &attachment);
                    }
                }
            }
        }
    }
}

#[allow(unconditional_recursion)]
fn recurse(depth: u64) -> u64 {
    let frame = black_box([depth; 16]);
    recurse(black_box(depth + 1)) + frame[black_box(3)]
}
