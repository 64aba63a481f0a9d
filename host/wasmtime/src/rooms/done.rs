//! A turn that is done, on its way to its commit, and what is told of it once
//! it is durable.

use std::sync::Arc;
use std::time::Instant;

use opentelemetry::trace::SpanContext;

use crate::component::turn::Effect;
use crate::contract::telemetry::Subscriptions;
use crate::telemetry::meters::Meters;
use crate::telemetry::traces::{Call, Stored, Traced, Traces, Turn};

/// A turn that is done.
pub struct Done {
    /// Its room.
    pub store: Arc<str>,
    /// The connection that it is about, if it waits for what comes of it.
    pub asker: Option<u32>,
    /// What it does, in order.
    pub effects: Vec<Effect>,
    /// `None` where there are neither metrics nor traces.
    pub timing: Option<Timing>,
}

/// When a turn was what.
pub struct Timing {
    /// When what it is about arrived; when it began, if nobody knows.
    pub arrived: Instant,
    /// When it began.
    pub begun: Instant,
    /// When it was over.
    pub ended: Instant,
    /// The connection that it is about, if it is about one.
    pub about: Option<u32>,
    /// The span that its requests are made in that name none.
    pub parent: Option<Box<SpanContext>>,
}

/// Counts what a durable turn did, which is let go at `now`. Returns where its
/// room's subscriptions stand, if the turn has changed that.
pub fn count(
    meters: Option<&Meters>,
    effects: &[Effect],
    timing: &Timing,
    now: Instant,
) -> Option<Subscriptions> {
    let mut subscriptions = None;
    let released = Instant::now();
    for effect in effects {
        match (effect, meters) {
            (Effect::Subscribed(counts), _) => subscriptions = Some(*counts),
            (Effect::Called(call), Some(meters)) => {
                let took = released.saturating_duration_since(timing.arrived);
                meters.called(call.method, call.refused.as_deref(), took);
            }
            (Effect::Ahead, Some(meters)) => meters.ahead(),
            (Effect::Appended { events, bytes }, Some(meters)) => meters.appended(*events, *bytes),
            (Effect::Send { frame, .. }, Some(_)) => frame.leave(now),
            _ => {}
        }
    }
    subscriptions
}

/// Makes the spans of a durable turn, but for those of what it sends.
pub fn trace(traces: &Traces, store: &str, effects: &[Effect], timing: &Timing) -> Traced {
    let mut calls: Vec<&Call> = Vec::new();
    let mut stored: Vec<&Stored> = Vec::new();
    for effect in effects {
        match effect {
            Effect::Called(call) => calls.push(call),
            Effect::Stored(it) => stored.push(it),
            _ => {}
        }
    }
    if calls.is_empty() {
        return Traced::default();
    }
    traces.turn(&Turn {
        store,
        arrived: timing.arrived,
        begun: timing.begun,
        ended: timing.ended,
        released: Instant::now(),
        parent: timing.parent.as_deref(),
        calls: &calls,
        stored: &stored,
    })
}

/// To how many sockets a turn sends that it is not about.
pub fn audience(effects: &[Effect], about: Option<u32>) -> usize {
    let sent = effects.iter().filter_map(|effect| match effect {
        Effect::Send { to, .. } => Some(to),
        _ => None,
    });
    sent.flatten().filter(|to| Some(**to) != about).count()
}
