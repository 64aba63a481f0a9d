//! Metrics that are looked up when they are asked for, and cost nothing
//! otherwise: how full things are, and whether the server is ready.

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use opentelemetry::KeyValue;
use opentelemetry::metrics::AsyncInstrument;

use crate::flow::intake::Intake;
use crate::flow::output::Output;
use crate::telemetry::load::{Carried, Load};
use crate::telemetry::machine;
use crate::telemetry::meters::Meters;
use crate::telemetry::watch::Pulse;

/// When the process began, as far as telemetry knows.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// What a server looks at.
pub struct Sources {
    /// What waits to be taken by clients.
    pub output: Arc<Output>,
    /// What clients send, by kinds.
    pub intakes: Vec<Arc<Intake>>,
    /// What shards carry.
    pub loads: Vec<Arc<Load>>,
    /// Signs that each shard is well.
    pub pulses: Vec<Arc<Pulse>>,
    /// Whether the server is ready.
    pub is_ready: Box<dyn Fn() -> bool + Send + Sync>,
    /// Where the logs are, if they are on a disk.
    pub directory: Option<PathBuf>,
}

impl Sources {
    fn sum(&self, of: impl Fn(&Carried) -> u64) -> u64 {
        self.loads.iter().map(|load| of(&load.get())).sum()
    }
}

fn number(value: usize) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

impl Meters {
    /// Looks at these whenever metrics are asked for.
    pub fn observe(&self, sources: Sources) {
        LazyLock::force(&START);
        let sources = Arc::new(sources);
        self.observe_rooms(&sources);
        self.observe_flow(&sources);
        self.observe_process();
        let of = Arc::clone(&sources);
        self.meter
            .f64_observable_gauge("syncline.shard.still")
            .with_unit("s")
            .with_description("For how long that shard has not turned that did so last")
            .with_callback(move |it| {
                let longest = of.pulses.iter().map(|pulse| pulse.still()).max();
                it.observe(longest.unwrap_or_default().as_secs_f64(), &[]);
            })
            .build();
        let of = Arc::clone(&sources);
        self.gauge(
            "syncline.ready",
            "",
            "Whether the server is ready",
            move |it| {
                it.observe(u64::from((of.is_ready)()), &[]);
            },
        );
        self.gauge(
            "syncline.storage.free",
            "By",
            "What is free on the disk of the logs",
            move |it| {
                let free = sources.directory.as_deref().and_then(machine::free_bytes);
                free.into_iter().for_each(|bytes| it.observe(bytes, &[]));
            },
        );
        let dropped = Arc::clone(self.dropped());
        self.meter
            .u64_observable_counter("syncline.telemetry.dropped")
            .with_unit("{item}")
            .with_description("Telemetry that found no way out")
            .with_callback(move |it| {
                for (signal, count) in dropped.all() {
                    it.observe(count, &[KeyValue::new("syncline.signal", signal)]);
                }
            })
            .build();
    }

    fn gauge(
        &self,
        name: &'static str,
        unit: &'static str,
        what: &'static str,
        look: impl Fn(&dyn AsyncInstrument<u64>) + Send + Sync + 'static,
    ) {
        let gauge = self.meter.u64_observable_gauge(name).with_unit(unit);
        gauge.with_description(what).with_callback(look).build();
    }

    fn observe_rooms(&self, sources: &Arc<Sources>) {
        let of = Arc::clone(sources);
        self.meter
            .i64_observable_up_down_counter("syncline.rooms")
            .with_unit("{room}")
            .with_description("Rooms")
            .with_callback(move |it| {
                for (state, count) in [
                    ("awake", of.sum(|it| it.rooms_awake)),
                    ("asleep", of.sum(|it| it.rooms_asleep)),
                ] {
                    let state = KeyValue::new("syncline.room.state", state);
                    it.observe(signed(count), &[state]);
                }
            })
            .build();
        let of = Arc::clone(sources);
        self.meter
            .i64_observable_up_down_counter("syncline.subscriptions")
            .with_unit("{subscription}")
            .with_description("Pulls that stay open")
            .with_callback(move |it| {
                for (state, count) in [
                    ("live", of.sum(|it| it.live)),
                    ("catching", of.sum(|it| it.catching)),
                    ("held", of.sum(|it| it.held)),
                ] {
                    let state = KeyValue::new("syncline.subscription.state", state);
                    it.observe(signed(count), &[state]);
                }
            })
            .build();
        let of = Arc::clone(sources);
        let what = "Memory of the guest's instances in rooms";
        self.gauge("syncline.guest.memory", "By", what, move |it| {
            it.observe(of.sum(|it| it.guest_bytes), &[]);
        });
    }

    fn observe_flow(&self, sources: &Arc<Sources>) {
        let of = Arc::clone(sources);
        let what = "What waits for clients to take it";
        self.gauge("syncline.outbox.size", "By", what, move |it| {
            it.observe(number(of.output.bytes()), &[]);
        });
        let of = Arc::clone(sources);
        let what = "What may wait for clients to take it";
        self.gauge("syncline.output.limit", "By", what, move |it| {
            it.observe(number(of.output.bytes_max()), &[]);
        });
        let of = Arc::clone(sources);
        let what = "What clients have sent that is not answered yet";
        self.gauge("syncline.input.size", "By", what, move |it| {
            let bytes = of.intakes.iter().map(|intake| intake.bytes()).sum();
            it.observe(number(bytes), &[]);
        });
        let of = Arc::clone(sources);
        let what = "What clients may have sent that is not answered yet";
        self.gauge("syncline.input.limit", "By", what, move |it| {
            let bytes = of.intakes.iter().map(|intake| intake.bytes_max()).sum();
            it.observe(number(bytes), &[]);
        });
    }

    fn observe_process(&self) {
        self.meter
            .f64_observable_counter("process.cpu.time")
            .with_unit("s")
            .with_description("Processor time")
            .with_callback(|it| {
                if let Some((user, system)) = machine::cpu_seconds() {
                    it.observe(user, &[KeyValue::new("cpu.mode", "user")]);
                    it.observe(system, &[KeyValue::new("cpu.mode", "system")]);
                }
            })
            .build();
        self.meter
            .i64_observable_up_down_counter("process.memory.usage")
            .with_unit("By")
            .with_description("Memory in use")
            .with_callback(|it| {
                let bytes = machine::memory_bytes();
                bytes
                    .into_iter()
                    .for_each(|it_is| it.observe(signed(it_is), &[]));
            })
            .build();
        self.meter
            .i64_observable_up_down_counter("process.open_file_descriptor.count")
            .with_unit("{file_descriptor}")
            .with_description("Open files")
            .with_callback(|it| {
                let files = machine::open_files();
                files
                    .into_iter()
                    .for_each(|count| it.observe(signed(count), &[]));
            })
            .build();
        self.meter
            .f64_observable_gauge("process.uptime")
            .with_unit("s")
            .with_description("Since the start")
            .with_callback(|it| it.observe(START.elapsed().as_secs_f64(), &[]))
            .build();
    }
}
