//! A server that runs, from outside: whether it is there, whether it is well,
//! what time it has, and whom it lets in.

use std::io;
use std::time::{Duration, Instant, SystemTime};

use super::codes;
use super::exchange;
use super::frames;
use super::http::{Answer, Http};
use super::over_http;
use super::report::Report;
use super::socket::{Received, Refusal, Socket, Stream};
use super::target::Target;
use super::token;
use super::{Visit, frames::Answer as Reply};

/// The store that is knocked at without a token. One name, so that a server
/// without tokens does not get a room for each visit.
const KNOCKED_AT: &str = "syncline-doctor";

/// A `Date` has whole seconds, and clocks are never quite the same.
const SKEW_SECONDS_WARN: u64 = 5;

/// What a token's `nbf` may be ahead (PROTOCOL.md, "Admission").
const SKEW_SECONDS_FAIL: u64 = 60;

/// Visits it.
///
/// # Errors
/// When this machine cannot ask anybody.
pub fn check(target: &Target, visit: &Visit<'_>, report: &mut Report) -> Result<(), String> {
    let claims = visit.token.and_then(|it| token::check_clock(it, report));
    let http = Http::new(target.timeout)?;
    if !is_reachable(target, report) {
        return Ok(());
    }
    if !health(target, &http, report) {
        return Ok(());
    }
    page(target, &http, report);
    let is_open = knock(target, report);
    over_http::knock(target, &http, KNOCKED_AT, is_open, report);
    if visit.token.is_some() || visit.store.is_some() {
        exchange::check(target, &http, visit, claims.as_ref(), report);
    } else {
        report.ok(
            "sync",
            "not tried: --token, or where none is required --store, has it push and pull",
        );
    }
    Ok(())
}

/// Whether there is a connection, and TLS where it should be.
fn is_reachable(target: &Target, report: &mut Report) -> bool {
    let began = Instant::now();
    if let Err(error) = Stream::connect(target) {
        let to_do = match error.kind() {
            io::ErrorKind::ConnectionRefused => {
                "Nothing listens there: see that the server runs, and that host and port are its own"
            }
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => {
                "Nobody answers: see the address, and what a firewall lets through"
            }
            _ => "See that the name has an address, and that this machine has a way there",
        };
        report.fail("reachable", format!("{target}: {error}"), to_do);
        return false;
    }
    let took = millis(began.elapsed());
    report.ok(
        "reachable",
        format!("{target} takes connections, after {took}"),
    );
    if target.is_tls() {
        return match Stream::open(target) {
            Ok(Stream::Tls(tls)) => {
                let version = tls.conn.protocol_version();
                let version = version
                    .and_then(|it| it.as_str())
                    .unwrap_or("a version that it does not name");
                report.ok("tls", format!("the certificate is good, by {version}"));
                true
            }
            Ok(Stream::Plain(_)) => true,
            Err(error) => {
                report.fail(
                    "tls",
                    format!("no TLS: {error}"),
                    tls_to_do(&error.to_string()),
                );
                false
            }
        };
    }
    if !target.is_loopback() {
        report.warn(
            "tls",
            "without TLS whoever is on the way reads tokens and events, and pages that are https:// may not connect",
            "Put a reverse proxy with TLS in front, and give clients wss://",
        );
    }
    true
}

fn tls_to_do(words: &str) -> &'static str {
    if words.contains("Expired") || words.contains("expired") {
        "Renew the certificate, and see that this machine's clock is right"
    } else if words.contains("NotValidForName") || words.contains("not valid for name") {
        "Use the name that the certificate is for, or have one made for this name"
    } else if words.contains("UnknownIssuer") || words.contains("certificate") {
        "Have the proxy send the whole chain, from an authority that clients trust"
    } else {
        "Something else than TLS may listen on this port: is http:// meant, or another port?"
    }
}

/// `/healthz` and `/readyz`; whether anything like our server answers.
fn health(target: &Target, http: &Http, report: &mut Report) -> bool {
    match http.get(target.page("/healthz")) {
        Err(why) => {
            report.fail(
                "healthz",
                format!("no answer: {why}"),
                "Something listens there that does not speak HTTP, or hangs: see what it is, and its log",
            );
            return false;
        }
        Ok(answer) if answer.status == 200 && answer.body.trim() == "ok" => {
            report.ok("healthz", format!("200, after {}", millis(answer.took)));
            clock(&answer, report);
        }
        Ok(answer) => {
            let location = &answer.location;
            let (what, to_do) = match answer.status {
                300..=399 => (
                    format!("{} to {location}", answer.status),
                    "Give --url, and clients, the address that it leads to",
                ),
                404 => (
                    "404: this is no Syncline, or a proxy does not pass the path on".to_owned(),
                    "See what answers at this address",
                ),
                status => (
                    format!("{status}, and not `ok`"),
                    "See what answers at this address, and its log",
                ),
            };
            report.fail("healthz", what, to_do);
        }
    }
    match http.get(target.page("/readyz")) {
        Err(why) => report.fail("readyz", format!("no answer: {why}"), "See its log"),
        Ok(answer) if answer.status == 200 => report.ok("readyz", "200: it does its work"),
        Ok(answer) => report.fail(
            "readyz",
            format!("{}: {}", answer.status, answer.body),
            "It says why; the server's log says more",
        ),
    }
    true
}

/// Compares its clock with this one.
fn clock(answer: &Answer, report: &mut Report) {
    let Some(theirs) = answer.date else {
        report.ok("clock", "it sends no Date, so its clock is not compared");
        return;
    };
    // What it took to get there and half a second of a `Date` on average.
    let ours = answer.asked + answer.took / 2;
    let (skew, side) = skew(ours, theirs);
    let what = format!("its clock is {skew} s {side} this machine's");
    let to_do = "See that both keep their time (`timedatectl`): tokens are judged by the server's";
    if skew > SKEW_SECONDS_FAIL {
        report.fail("clock", what, to_do);
    } else if skew > SKEW_SECONDS_WARN {
        report.warn("clock", what, to_do);
    } else {
        report.ok("clock", "its clock is this machine's, within seconds");
    }
}

fn skew(ours: SystemTime, theirs: SystemTime) -> (u64, &'static str) {
    match theirs.duration_since(ours) {
        Ok(ahead) => (ahead.as_secs(), "ahead of"),
        Err(behind) => (behind.duration().as_secs(), "behind"),
    }
}

/// `GET /`: what a person sees who opens the address.
fn page(target: &Target, http: &Http, report: &mut Report) {
    match http.get(target.page("/")) {
        Err(why) => report.fail("page", format!("GET / has no answer: {why}"), "See its log"),
        Ok(answer) if answer.status == 200 && answer.body.contains("Syncline") => {
            report.ok("page", "GET / says that it is Syncline");
        }
        Ok(answer) if answer.status == 200 && answer.content_type.starts_with("text/html") => {
            report.ok("page", "GET / is an app's page");
        }
        Ok(answer) => report.warn(
            "page",
            format!("GET / answers {} {}", answer.status, answer.location),
            "Whoever opens the address sees that: is something else in front?",
        ),
    }
}

/// Connects without a token; whether that is enough.
fn knock(target: &Target, report: &mut Report) -> bool {
    let mut socket = match Socket::dial(target, KNOCKED_AT, None) {
        Ok(socket) => socket,
        Err(refusal) => {
            not_upgraded(&refusal, report);
            return false;
        }
    };
    socket.send(&frames::ping());
    match socket.receive() {
        Received::Frame(frame) if frames::read(&frame) == Reply::Pong => {
            socket.close();
            let what = "it lets everybody in, without a token, to read and write every store";
            if target.is_loopback() {
                report.ok("admission", format!("{what}: for development"));
            } else {
                report.warn(
                    "admission",
                    what,
                    "Set ENVIRONMENT=production and JWT_SECRET, unless nobody else can connect",
                );
            }
            true
        }
        Received::Closed(4401, reason) if reason.starts_with("TOKEN_MISSING") => {
            report.ok(
                "admission",
                format!("without a token it refuses, with 4401 {reason}"),
            );
            false
        }
        Received::Closed(code, reason) => {
            refused("admission", code, &reason, report);
            false
        }
        other => {
            report.fail(
                "admission",
                format!(
                    "without a token neither admitted nor refused: {}",
                    other.words()
                ),
                "See that what is between passes WebSocket messages on",
            );
            false
        }
    }
}

/// Says what it means that there is no socket.
pub(super) fn not_upgraded(refusal: &Refusal, report: &mut Report) {
    match refusal {
        Refusal::Status(status, body) => {
            let meaning = codes::of_status(*status);
            report.fail(
                "websocket",
                format!(
                    "the upgrade is refused with {status}: {}. {body}",
                    meaning.what
                ),
                meaning.to_do,
            );
        }
        Refusal::Gone(why) => report.fail(
            "websocket",
            format!("no WebSocket: {why}"),
            "See that what is between passes `Connection: upgrade` and `Upgrade` on",
        ),
    }
}

/// Says what a close means.
pub(super) fn refused(check: &'static str, code: u16, reason: &str, report: &mut Report) {
    let meaning = codes::meaning(reason);
    report.fail(
        check,
        format!("refused with {code} {reason}: {}", meaning.what),
        meaning.to_do,
    );
}

/// A time in words.
pub(super) fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1_000.0)
}
