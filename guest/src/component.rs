//! The component: the guest's logic bound to the imports and exports of
//! `wit/`. Nothing is decided here.

mod services;

use std::cell::RefCell;
use std::time::SystemTime;

pub use crate::contract as bindings;

use self::bindings::exports::syncline::backend::{gateway as wit_gateway, room as wit_room};
use self::bindings::syncline::backend::{
    claims as wit_claims, connections as wit_connections, diagnostics as wit_diagnostics,
    event_log as wit_event_log, quotas as wit_quotas, services as wit_services, timer as wit_timer,
};
use crate::admission::{self, Admission, Cause, Request, Verdict};
use crate::config::{Config, ConfigError, variables};
use crate::host_fault::{self, HostFault};
use crate::imports::{
    AttachError, Claims, ConnectionId, Connections, Diagnostics, Event, EventLog, Level, LogInfo,
    Opening, QuotaDenied, Quotas, StorageError, StoredEvent, SubscribeError, System, Timer,
};
use crate::limits;
use crate::protocol::Transport;
use crate::room::editor::WAIT_MS_MAX;
use crate::room::{Frame, Page, Room};

/// The real imports.
struct Host;

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
    ) -> Result<ConnectionId, SubscribeError> {
        wit_connections::subscribe(binding, object_id).map_err(|error| match error {
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

thread_local! {
    static ROOM: RefCell<Option<Room>> = const { RefCell::new(None) };
    static CONFIG: RefCell<Option<Result<Config, ConfigError>>> = const { RefCell::new(None) };
}

/// Runs a turn on the room; without one (the host did not start it), `absent`.
fn with_room<T>(absent: impl FnOnce() -> T, turn: impl FnOnce(&mut Room) -> T) -> T {
    ROOM.with_borrow_mut(|room| match room {
        Some(room) => turn(room),
        None => absent(),
    })
}

/// The configuration cannot change while an instance lives.
fn with_config<T>(use_it: impl FnOnce(&Result<Config, ConfigError>) -> T) -> T {
    CONFIG.with_borrow_mut(|config| use_it(config.get_or_insert_with(|| Config::read(&mut Host))))
}

/// The world's exports.
pub struct Component;

// Off in a component that has this one inside (`tests/hostile`).
#[cfg(feature = "exports")]
bindings::export!(Component with_types_in bindings);

impl wit_gateway::Guest for Component {
    fn variables_read() -> Vec<wit_gateway::Variable> {
        let variables = variables().map(|it| wit_gateway::Variable {
            name: it.name.to_owned(),
            help: it.help.map(str::to_owned),
        });
        variables.collect()
    }

    fn bounds_kept() -> wit_gateway::Bounds {
        wit_gateway::Bounds {
            attachment_bytes_max: limits::ATTACHMENT_BYTES_MAX,
            reason_bytes_max: limits::REASON_BYTES_MAX,
            read_events_max: limits::READ_EVENTS_MAX,
            read_bytes_max: limits::READ_BYTES_MAX,
            wake_after_ms_max: u32::try_from(WAIT_MS_MAX).unwrap_or(u32::MAX),
            refused_body_bytes_max: limits::REFUSED_BODY_BYTES_MAX,
        }
    }

    fn faults_told() -> wit_gateway::Faults {
        wit_gateway::Faults {
            unavailable: host_fault::UNAVAILABLE.into(),
            internal: host_fault::INTERNAL.into(),
            overloaded: host_fault::OVERLOADED.into(),
            too_many_connections: host_fault::TOO_MANY_CONNECTIONS.into(),
            store_mismatch: host_fault::STORE_MISMATCH.into(),
        }
    }

    fn check() -> Result<wit_gateway::Summary, String> {
        with_config(|config| match config {
            Ok(config) => Ok(wit_gateway::Summary {
                environment: config.environment.as_str().to_owned(),
                authentication: config.authentication(),
                warnings: config.warnings(),
                auth_required: config.auth_required,
                services: config.services.announcement(),
                quotas_used: config.services.llm.is_some(),
            }),
            Err(error) => Err(error.to_string()),
        })
    }

    fn headers_read() -> Vec<String> {
        admission::HEADERS_READ.map(str::to_owned).to_vec()
    }

    fn admit(request: wit_gateway::Request) -> wit_gateway::Decision {
        let request = Request {
            method: request.method,
            path: request.path,
            query: request.query,
            headers: request.headers,
            upgrade: request.upgrade,
        };
        let decision = with_config(|config| admission::admit(&mut Host, config, &request));
        let verdict = match decision.verdict {
            Verdict::Respond(response) => wit_gateway::Verdict::Respond(response.into()),
            Verdict::Enter(admission) => wit_gateway::Verdict::Enter(admission.into()),
            Verdict::Serve(service) => wit_gateway::Verdict::Serve(service),
            Verdict::Close { code, reason } => {
                wit_gateway::Verdict::Close(wit_gateway::Close { code, reason })
            }
            Verdict::Refuse { refused, headers } => {
                wit_gateway::Verdict::Refuse(wit_gateway::Refusal {
                    status: refused.code.status(),
                    code: refused.code.as_str().to_owned(),
                    message: refused.message,
                    retry_after_ms: refused.code.retry_after_ms(),
                    headers,
                })
            }
        };
        wit_gateway::Decision {
            verdict,
            cause: decision.cause.map(Into::into),
        }
    }

    fn admit_call(body: Vec<u8>) -> Result<wit_gateway::Admission, wit_gateway::Denial> {
        with_config(|config| admission::admit_call(&mut Host, config, &body))
            .map(Into::into)
            .map_err(|denial| wit_gateway::Denial {
                answer: denial.answer,
                cause: denial.cause.into(),
            })
    }

    fn refuse(refusal: wit_gateway::Refusal, body: Vec<u8>) -> wit_gateway::Response {
        admission::refuse(
            refusal.status,
            &refusal.code,
            &refusal.message,
            refusal.retry_after_ms,
            refusal.headers,
            &body,
        )
        .into()
    }
}

impl From<HostFault> for wit_gateway::Fault {
    fn from(fault: HostFault) -> Self {
        Self {
            refusal: wit_gateway::Refusal {
                status: fault.status,
                code: fault.code.as_str().to_owned(),
                message: fault.message.to_owned(),
                retry_after_ms: fault.code.retry_after_ms(),
                headers: Vec::new(),
            },
            close: wit_gateway::Close {
                code: fault.code.close_code_or_fault(),
                reason: fault.code.as_str().to_owned(),
            },
        }
    }
}

impl From<Cause> for wit_gateway::Cause {
    fn from(cause: Cause) -> Self {
        Self {
            code: cause.refused.code.as_str().to_owned(),
            message: cause.refused.message,
            store_id: cause.store_id,
        }
    }
}

impl From<admission::Response> for wit_services::Response {
    fn from(response: admission::Response) -> Self {
        Self {
            status: response.status,
            headers: response.headers,
            body: response.body,
        }
    }
}

impl From<Admission> for wit_gateway::Admission {
    fn from(admission: Admission) -> Self {
        Self {
            store_id: admission.store_id,
            transport: match admission.transport {
                Transport::WsV4 => wit_gateway::Transport::WsV4,
                Transport::HttpV4 => wit_gateway::Transport::HttpV4,
                Transport::WsV3 => wit_gateway::Transport::WsV3,
                Transport::DoRpc => wit_gateway::Transport::DoRpc,
            },
            principal: admission.principal,
            response_headers: admission.response_headers,
            auto_response: admission.auto_response,
        }
    }
}

impl From<wit_gateway::Admission> for Admission {
    fn from(admission: wit_gateway::Admission) -> Self {
        Self {
            store_id: admission.store_id,
            transport: match admission.transport {
                wit_gateway::Transport::WsV4 => Transport::WsV4,
                wit_gateway::Transport::HttpV4 => Transport::HttpV4,
                wit_gateway::Transport::WsV3 => Transport::WsV3,
                wit_gateway::Transport::DoRpc => Transport::DoRpc,
            },
            principal: admission.principal,
            response_headers: admission.response_headers,
            auto_response: admission.auto_response,
        }
    }
}

impl From<Page> for wit_room::Page {
    fn from(page: Page) -> Self {
        Self {
            body: page.body,
            continuation: page.continuation,
        }
    }
}

impl wit_room::Guest for Component {
    fn start(store_id: String) {
        let room = Room::start(&mut Host, store_id);
        ROOM.set(Some(room));
    }

    fn open(connection: ConnectionId, admission: wit_room::Admission) {
        let admission = admission.into();
        with_room(|| (), |room| room.open(&mut Host, connection, &admission));
    }

    fn message(connection: ConnectionId, frame: wit_room::Frame) {
        let frame = match frame {
            wit_room::Frame::Text(text) => Frame::Text(text),
            wit_room::Frame::Binary(bytes) => Frame::Binary(bytes),
        };
        with_room(|| (), |room| room.message(&mut Host, connection, &frame));
    }

    fn drained(connection: ConnectionId) {
        with_room(|| (), |room| room.drained(&mut Host, connection));
    }

    fn delivered(connection: ConnectionId) {
        with_room(|| (), |room| room.delivered(&mut Host, connection));
    }

    fn wake() {
        with_room(|| (), |room| room.wake(&mut Host));
    }

    fn closed(connection: ConnectionId) {
        with_room(|| (), |room| room.closed(&mut Host, connection));
    }

    fn request(admission: wit_room::Admission, body: Vec<u8>) -> wit_room::Answer {
        let admission = admission.into();
        with_room(
            || wit_room::Answer {
                status: 503,
                headers: Vec::new(),
                first: wit_room::Page {
                    body: String::new(),
                    continuation: None,
                },
            },
            |room| {
                let answer = room.request(&mut Host, &admission, &body);
                wit_room::Answer {
                    status: answer.status,
                    headers: answer.headers,
                    first: answer.first.into(),
                }
            },
        )
    }

    fn resume(continuation: String) -> wit_room::Page {
        with_room(
            || wit_room::Page {
                body: String::new(),
                continuation: None,
            },
            |room| room.resume(&mut Host, &continuation).into(),
        )
    }
}
