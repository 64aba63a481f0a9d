//! A push and a pull over WebSocket, as a 0.4 client makes them. What is
//! written is the doctor's own, and never goes where an app's events are: its
//! clients would not know what to make of it.

use std::time::{Duration, Instant};

use super::Visit;
use super::frames::{self, Answer, Chunk, EVENT_NAME, Place};
use super::http::Http;
use super::over_http;
use super::report::Report;
use super::server::{millis, not_upgraded, refused};
use super::socket::{Received, Socket};
use super::target::Target;
use super::token::Claims;

const CHECK: &str = "sync";

/// Pings whose round trip is measured.
const PINGS: usize = 5;

/// Chunks of the doctor's own events that are pulled: ten thousand visits.
const CHUNKS_MAX: usize = 100;

/// A round trip that users begin to feel.
const ROUND_TRIP_WARN: Duration = Duration::from_millis(500);

/// How a store was found.
enum Found {
    /// It is empty, or has the doctor's events only.
    Own(Place),
    /// It has an app's.
    Foreign,
}

/// Why it did not go on; said already.
struct Said;

/// Pushes and pulls, and waits whether the socket stays.
pub fn check(
    target: &Target,
    http: &Http,
    visit: &Visit<'_>,
    claims: Option<&Claims>,
    report: &mut Report,
) {
    let mark = match mark() {
        Ok(mark) => mark,
        Err(error) => {
            report.fail(
                CHECK,
                format!("this machine has no randomness: {error}"),
                "",
            );
            return;
        }
    };
    let fresh = format!("syncline-doctor-{mark}");
    let named = visit.store;
    // A token is for some stores, as a rule, and for no fresh one.
    let covers = |store: &str| {
        claims.is_none_or(|it| {
            it.workspaces.is_empty() || it.workspaces.iter().any(|one| one == store)
        })
    };
    let of_token = claims.and_then(|it| it.workspaces.first());
    let (store, may_push) = match named {
        Some(store) => (store, true),
        None if covers(&fresh) => (fresh.as_str(), true),
        None => (of_token.map_or(fresh.as_str(), String::as_str), false),
    };
    let Ok((mut socket, found)) = enter(target, visit, store, report) else {
        return;
    };
    let place = match found {
        Found::Own(place) if may_push => {
            let pushed = push(target, visit, store, &mut socket, place, &mark, report);
            let Ok(place) = pushed else {
                return;
            };
            Some(place)
        }
        Found::Own(_) => {
            nothing_pushed("the token covers no store of the doctor's own", report);
            over_http::ping(target, http, visit, store, report);
            None
        }
        Found::Foreign => {
            nothing_pushed(&format!("store {store:?} has an app's events"), report);
            over_http::ping(target, http, visit, store, report);
            None
        }
    };
    if let Some(place) = place {
        over_http::exchange(target, http, visit, store, place, &mark, report);
    }
    idle(socket, visit.idle_for, report);
}

fn nothing_pushed(why: &str, report: &mut Report) {
    report.warn(
        CHECK,
        format!("nothing was pushed: {why}"),
        "Name an empty store with --store, and give a token that covers it (`syncline token --workspace S`)",
    );
}

/// Something that no other visit has.
fn mark() -> std::io::Result<String> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
    Ok(format!("{:016x}", u64::from_ne_bytes(bytes)))
}

/// Connects, is let in, and pulls what there is.
fn enter(
    target: &Target,
    visit: &Visit<'_>,
    store: &str,
    report: &mut Report,
) -> Result<(Socket, Found), Said> {
    let mut socket = Socket::dial(target, store, visit.token).map_err(|refusal| {
        not_upgraded(&refusal, report);
        Said
    })?;
    let mut trips = Vec::new();
    for _ in 0..PINGS {
        let began = Instant::now();
        socket.send(&frames::ping());
        let received = socket.receive();
        if !matches!(&received, Received::Frame(frame) if frames::read(frame) == Answer::Pong) {
            return Err(ended("admission", &received, report));
        }
        trips.push(began.elapsed());
    }
    report.ok("admission", format!("let into store {store:?}"));
    trips.sort_unstable();
    let trip = trips.get(PINGS / 2).copied().unwrap_or_default();
    let what = format!(
        "{} there and back, the median of {PINGS} pings",
        millis(trip)
    );
    if trip > ROUND_TRIP_WARN {
        let to_do = "See what is between: each edit takes at least that long to be acknowledged";
        report.warn("round-trip", what, to_do);
    } else {
        report.ok("round-trip", what);
    }
    let found = pull(&mut socket, store, report)?;
    Ok((socket, found))
}

/// Says why a conversation ended.
fn ended(check: &'static str, received: &Received, report: &mut Report) -> Said {
    match received {
        Received::Closed(code, reason) => refused(check, *code, reason, report),
        other => report.fail(
            check,
            other.words(),
            "See the server's log, and what is between that ends or holds connections",
        ),
    }
    Said
}

/// Says that a request was refused.
fn failed(what: &str, code: &str, message: &str, report: &mut Report) -> Said {
    let meaning = super::codes::meaning(code);
    report.fail(
        CHECK,
        format!("{what} was refused with {code}: {message}"),
        meaning.to_do,
    );
    Said
}

/// The next answer.
fn next(socket: &mut Socket, report: &mut Report) -> Result<Answer, Said> {
    match socket.receive() {
        Received::Frame(frame) => Ok(frames::read(&frame)),
        other => Err(ended(CHECK, &other, report)),
    }
}

/// Pulls live from the beginning, up to the end or to an app's first event.
fn pull(socket: &mut Socket, store: &str, report: &mut Report) -> Result<Found, Said> {
    let began = Instant::now();
    socket.send(&frames::pull("0", store, true, None));
    let mut place = Place::default();
    let mut events = 0;
    for _ in 0..CHUNKS_MAX {
        let chunk = match next(socket, report)? {
            Answer::Chunk(chunk) => chunk,
            Answer::Failure(code, message) => {
                return Err(failed("a pull", &code, &message, report));
            }
            _ => continue,
        };
        events += chunk.events.len();
        place.backend_id.clone_from(&chunk.backend_id);
        if let Some((number, ..)) = chunk.events.last() {
            place.head = *number;
        }
        if chunk.events.iter().any(|(_, name, _)| name != EVENT_NAME) {
            socket.send(&frames::interrupt("0"));
            report.ok(
                CHECK,
                format!(
                    "a pull: the first {events} events of an app, after {}",
                    millis(began.elapsed())
                ),
            );
            return Ok(Found::Foreign);
        }
        socket.send(&frames::ack("0"));
        if chunk.is_last {
            report.ok(
                CHECK,
                format!("a pull: {events} events, after {}", millis(began.elapsed())),
            );
            return Ok(Found::Own(place));
        }
    }
    report.warn(
        CHECK,
        format!("store {store:?} has more events of the doctor's than it reads"),
        "Name another with --store, and delete this one",
    );
    Err(Said)
}

/// Pushes an event, sees it come back on this socket and on another. The place
/// behind it.
fn push(
    target: &Target,
    visit: &Visit<'_>,
    store: &str,
    socket: &mut Socket,
    place: Place,
    mark: &str,
    report: &mut Report,
) -> Result<Place, Said> {
    let began = Instant::now();
    socket.send(&frames::push("1", "SyncWsRpc.Push", store, &place, mark));
    let mut is_shown = false;
    let mut is_acknowledged = None;
    while !is_shown || is_acknowledged.is_none() {
        match next(socket, report)? {
            Answer::Chunk(chunk) => {
                is_shown |= has(&chunk, mark);
                socket.send(&frames::ack("0"));
            }
            Answer::Success => is_acknowledged = Some(began.elapsed()),
            Answer::Failure(code, message) => {
                return Err(failed("a push", &code, &message, report));
            }
            _ => {}
        }
    }
    let took = millis(is_acknowledged.unwrap_or_default());
    report.ok(
        CHECK,
        format!(
            "a push, acknowledged after {took} and shown to a live pull: event {} of store {store:?} was written, named {EVENT_NAME}",
            place.head + 1
        ),
    );
    let mut other = Socket::dial(target, store, visit.token).map_err(|refusal| {
        not_upgraded(&refusal, report);
        Said
    })?;
    other.send(&frames::pull("0", store, false, Some(&place)));
    let mut is_there = false;
    loop {
        match next(&mut other, report)? {
            Answer::Chunk(chunk) => {
                is_there |= has(&chunk, mark);
                other.send(&frames::ack("0"));
            }
            Answer::Success => break,
            Answer::Failure(code, message) => {
                return Err(failed("a pull", &code, &message, report));
            }
            _ => {}
        }
    }
    other.close();
    if is_there {
        report.ok(CHECK, "another client pulls it");
    } else {
        report.fail(
            CHECK,
            "another client does not get what was pushed and acknowledged",
            "Do two servers answer at this address, each with logs of its own? A store belongs to one",
        );
        return Err(Said);
    }
    Ok(Place {
        head: place.head + 1,
        ..place
    })
}

fn has(chunk: &Chunk, mark: &str) -> bool {
    let mut marks = chunk.events.iter().filter_map(|(_, _, it)| it.as_deref());
    marks.any(|it| it == mark)
}

/// Says nothing for a while, and sees that the socket is still there.
fn idle(mut socket: Socket, idle_for: Duration, report: &mut Report) {
    const TO_DO: &str = "Clients send something every 10 s: have the proxy, or the load balancer, keep idle connections for a minute or more (nginx: proxy_read_timeout)";
    if idle_for.is_zero() {
        return;
    }
    let deadline = Instant::now() + idle_for;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match socket.receive_within(left) {
            Received::Silence => break,
            // What the live pull still has to show.
            Received::Frame(_) => {}
            other => {
                let after = idle_for.saturating_sub(left);
                report.fail(
                    "idle",
                    format!(
                        "a silent socket did not last for {} s: {}",
                        after.as_secs_f32(),
                        other.words()
                    ),
                    TO_DO,
                );
                return;
            }
        }
    }
    socket.send(&frames::ping());
    loop {
        match socket.receive() {
            Received::Frame(frame) if frames::read(&frame) == Answer::Pong => break,
            Received::Frame(_) => {}
            other => {
                let what = format!(
                    "after {} s of silence: {}",
                    idle_for.as_secs_f32(),
                    other.words()
                );
                report.fail("idle", what, TO_DO);
                return;
            }
        }
    }
    report.ok(
        "idle",
        format!(
            "a socket that was silent for {} s answers",
            idle_for.as_secs_f32()
        ),
    );
    socket.close();
}
