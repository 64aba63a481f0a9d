//! The component: the guest's logic bound to the imports and exports of
//! `wit/`. Nothing is decided here.

mod host;
mod services;

use std::cell::RefCell;

pub use crate::contract as bindings;

use self::bindings::exports::syncline::backend::{gateway as wit_gateway, room as wit_room};
use self::bindings::syncline::backend::services as wit_services;
use self::host::Host;
use crate::admission::{self, Admission, Cause, Request, Verdict};
use crate::config::variables::variables;
use crate::config::{Config, ConfigError};
use crate::host_fault::{self, HostFault};
use crate::imports::ConnectionId;
use crate::limits;
use crate::protocol::{Carrier, Speech};
use crate::room::editor::WAIT_MS_MAX;
use crate::room::{Frame, Page, Room};

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
            entry: match admission.speech.map(|speech| speech.carrier) {
                Some(Carrier::Socket) => wit_gateway::Entry::Socket,
                Some(Carrier::Http | Carrier::Object | Carrier::Callback) | None => {
                    wit_gateway::Entry::Exchange
                }
            },
            speech: admission.speech.map_or("", Speech::as_str).to_owned(),
            principal: admission.principal,
            response_headers: admission.response_headers,
            auto_response: admission.auto_response.map(|it| wit_gateway::AutoResponse {
                frame: it.frame,
                answer: it.answer,
                prevails: it.prevails,
            }),
        }
    }
}

impl From<wit_gateway::Admission> for Admission {
    fn from(admission: wit_gateway::Admission) -> Self {
        Self {
            store_id: admission.store_id,
            speech: Speech::parse(&admission.speech),
            principal: admission.principal,
            response_headers: admission.response_headers,
            // The room gives no such answers.
            auto_response: None,
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
