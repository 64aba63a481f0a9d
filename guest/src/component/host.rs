//! What the guest asks of its host, by the imports of `wit/`.

use std::time::SystemTime;

use super::bindings::syncline::backend::{
    claims as wit_claims, connections as wit_connections, diagnostics as wit_diagnostics,
    event_log as wit_event_log, quotas as wit_quotas, telemetry as wit_telemetry,
    timer as wit_timer,
};
use crate::imports::{
    AttachError, Callback, Called, Claims, ConnectionId, Connections, Diagnostics, Event, EventLog,
    Level, LogInfo, Method, Opening, QuotaDenied, Quotas, StorageError, StoredEvent,
    SubscribeError, Subscriptions, System, Telemetry, Timer,
};

/// The real imports.
pub struct Host;

impl From<wit_event_log::StorageError> for StorageError {
    fn from(error: wit_event_log::StorageError) -> Self {
        match error {
            wit_event_log::StorageError::Conflict(head) => Self::Conflict(head),
            wit_event_log::StorageError::Full(words) => Self::Full(words),
            wit_event_log::StorageError::TooLarge(words) => Self::TooLarge(words),
            wit_event_log::StorageError::Unavailable(words) => Self::Unavailable(words),
        }
    }
}

impl EventLog for Host {
    fn open(&mut self, new_backend_id: &str) -> Result<LogInfo, StorageError> {
        let info = wit_event_log::open(new_backend_id)?;
        Ok(LogInfo {
            head: info.head,
            backend_id: info.backend_id,
        })
    }

    fn append(
        &mut self,
        expected_head: u64,
        batch: &[Event<'_>],
        created_at: &str,
    ) -> Result<(), StorageError> {
        let batch: Vec<_> = batch
            .iter()
            .map(|event| wit_event_log::EventParam {
                seq_num: event.seq_num,
                parent_seq_num: event.parent_seq_num,
                name: event.name,
                args: event.args,
                client_id: event.client_id,
                session_id: event.session_id,
            })
            .collect();
        Ok(wit_event_log::append(expected_head, &batch, created_at)?)
    }

    fn read(
        &mut self,
        after: u64,
        max_events: u32,
        max_bytes: u32,
    ) -> Result<Vec<StoredEvent>, StorageError> {
        let events = wit_event_log::read(after, max_events, max_bytes)?;
        Ok(events
            .into_iter()
            .map(|stored| StoredEvent {
                seq_num: stored.event.seq_num,
                parent_seq_num: stored.event.parent_seq_num,
                name: stored.event.name,
                args: stored.event.args,
                client_id: stored.event.client_id,
                session_id: stored.event.session_id,
                created_at: stored.created_at,
            })
            .collect())
    }

    fn reset(&mut self, new_backend_id: &str) -> Result<(), StorageError> {
        Ok(wit_event_log::reset(new_backend_id)?)
    }
}

impl Connections for Host {
    fn send(&mut self, to: &[ConnectionId], frame: &str) {
        wit_connections::send(to, frame);
    }

    fn send_each(&mut self, openings: &[Opening], rest: &str) {
        let openings: Vec<_> = openings
            .iter()
            .map(|opening| wit_connections::Opening {
                to: &opening.to,
                head: &opening.head,
            })
            .collect();
        wit_connections::send_each(&openings, rest);
    }

    fn close(&mut self, connection: ConnectionId, code: u16, reason: &str) {
        wit_connections::close(connection, code, reason);
    }

    fn attach(&mut self, connection: ConnectionId, attachment: &str) -> Result<(), AttachError> {
        wit_connections::attach(connection, attachment).map_err(|error| match error {
            wit_connections::AttachError::TooLarge(bytes) => AttachError::TooLarge(bytes),
            wit_connections::AttachError::Gone => AttachError::Gone,
        })
    }

    fn attached(&mut self) -> Vec<(ConnectionId, String)> {
        wit_connections::attached()
    }

    fn subscribe(
        &mut self,
        binding: &str,
        object_id: &str,
        callback: Callback,
    ) -> Result<ConnectionId, SubscribeError> {
        let callback = match callback {
            Callback::Value => wit_connections::Callback::Value,
            Callback::Packed => wit_connections::Callback::Packed,
        };
        wit_connections::subscribe(binding, object_id, callback).map_err(|error| match error {
            wit_connections::SubscribeError::UnknownBinding => SubscribeError::UnknownBinding,
            wit_connections::SubscribeError::UnknownObject => SubscribeError::UnknownObject,
            wit_connections::SubscribeError::Unsupported => SubscribeError::Unsupported,
        })
    }

    fn notify_drained(&mut self, connection: ConnectionId) {
        wit_connections::notify_drained(connection);
    }
}

impl Timer for Host {
    fn wake_after(&mut self, ms: u32) {
        wit_timer::wake_after(ms);
    }
}

impl Claims for Host {
    fn current_version(&mut self, user_id: &str) -> Result<Option<u64>, String> {
        wit_claims::current_version(user_id)
    }
}

impl From<wit_quotas::Denied> for QuotaDenied {
    fn from(denied: wit_quotas::Denied) -> Self {
        match denied {
            wit_quotas::Denied::Exhausted(retry_after_ms) => Self::Exhausted { retry_after_ms },
            wit_quotas::Denied::Unavailable(words) => Self::Unavailable(words),
        }
    }
}

impl Quotas for Host {
    fn take(
        &mut self,
        user: &str,
        counter: &str,
        amount: u64,
        max: u64,
        window_ms: u64,
    ) -> Result<(), QuotaDenied> {
        Ok(wit_quotas::take(user, counter, amount, max, window_ms)?)
    }

    fn add(
        &mut self,
        user: &str,
        counter: &str,
        amount: u64,
        window_ms: u64,
    ) -> Result<(), QuotaDenied> {
        Ok(wit_quotas::add(user, counter, amount, window_ms)?)
    }

    fn hold(
        &mut self,
        user: &str,
        counter: &str,
        max: u32,
        lease_ms: u64,
    ) -> Result<u64, QuotaDenied> {
        Ok(wit_quotas::hold(user, counter, max, lease_ms)?)
    }

    fn let_go(&mut self, user: &str, counter: &str, place: u64) -> Result<(), QuotaDenied> {
        Ok(wit_quotas::let_go(user, counter, place)?)
    }
}

impl Diagnostics for Host {
    fn log(&mut self, level: Level, message: &str) {
        let level = match level {
            Level::Debug => wit_diagnostics::Level::Debug,
            Level::Info => wit_diagnostics::Level::Info,
            Level::Warn => wit_diagnostics::Level::Warn,
            Level::Error => wit_diagnostics::Level::Error,
        };
        wit_diagnostics::log(level, message);
    }
}

impl Telemetry for Host {
    fn called(&mut self, call: &Called<'_>) {
        let method = match call.method {
            Method::Pull => wit_telemetry::Method::Pull,
            Method::Push => wit_telemetry::Method::Push,
            Method::Ping => wit_telemetry::Method::Ping,
            Method::Admin => wit_telemetry::Method::Admin,
            Method::Other => wit_telemetry::Method::Other,
        };
        let parent = call.parent.map(|trace| wit_telemetry::Parent {
            trace_id: &trace.trace_id,
            span_id: &trace.span_id,
            sampled: trace.sampled,
        });
        wit_telemetry::called(wit_telemetry::Call {
            connection: call.connection,
            method,
            request: call.request,
            events: u32::try_from(call.events).unwrap_or(u32::MAX),
            refused: call.refused,
            parent,
        });
    }

    fn subscribed(&mut self, now: Subscriptions) {
        wit_telemetry::subscribed(wit_telemetry::Subscriptions {
            live: now.live,
            catching: now.catching,
            held: now.held,
        });
    }

    fn ahead(&mut self) {
        wit_telemetry::ahead();
    }

    fn tokens_used(&mut self, tokens: u64) {
        wit_telemetry::tokens_used(tokens);
    }
}

impl System for Host {
    fn now(&mut self) -> SystemTime {
        SystemTime::now()
    }

    fn random(&mut self, bytes: &mut [u8]) {
        // WASI's random source cannot fail; were it to, an id of zeros would
        // be worse than a trap.
        #[allow(clippy::expect_used)]
        getrandom::fill(bytes).expect("the host offers random bytes");
    }

    fn env(&mut self, name: &str) -> Option<String> {
        std::env::var(name).ok().filter(|value| !value.is_empty())
    }
}
