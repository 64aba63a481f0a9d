//! A clock that is not set.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use syncline_guest::admission::{Request, Verdict, admit};
use syncline_guest::config::Config;
use syncline_guest::protocol::Speech;

use super::host::{Host, anybody, push, say, start};

fn wrong_clocks() -> [SystemTime; 4] {
    [
        UNIX_EPOCH,
        UNIX_EPOCH - Duration::from_secs(1),
        UNIX_EPOCH + Duration::from_secs(253_402_300_800),
        UNIX_EPOCH + Duration::from_secs(1 << 60),
    ]
}

#[test]
fn a_push_under_a_wrong_clock_is_refused_and_may_come_again() {
    for now in wrong_clocks() {
        let mut host = Host::default();
        let mut room = start(&mut host);
        room.open(&mut host, 1, &anybody(Speech::SOCKET));
        let good = std::mem::replace(&mut host.now, now);
        for _ in 0..10 {
            say(&mut room, &mut host, 1, push("SyncWsRpc", "1", 0, 1));
            let answer = host.take_sent(1).join("");
            assert!(answer.contains(r#""code":"CLOCK_WRONG""#), "{answer}");
            assert!(answer.contains(r#""retryAfterMs":1000"#), "{answer}");
        }
        assert!(host.events.is_empty());
        // Once in a while.
        assert_eq!(host.lines_with("the clock"), 4);
        host.now = good;
        say(&mut room, &mut host, 1, push("SyncWsRpc", "1", 0, 1));
        assert_eq!(host.head(), 1);
    }
}

/// Under a clock that was never set an expired token would look valid.
#[test]
fn nobody_with_a_token_is_admitted_under_a_wrong_clock() {
    for now in wrong_clocks() {
        let mut host = Host::default();
        host.env.insert("REQUIRE_AUTH", "true".to_owned());
        host.env
            .insert("JWT_SECRET", "a secret of tests, long enough".to_owned());
        host.now = now;
        let config = Config::read(&mut host);
        let request = Request {
            method: "GET".to_owned(),
            path: "/".to_owned(),
            query: Some(
                "storeId=s&transport=ws&payload=%7B%22authToken%22%3A%22e30.e30.e30%22%2C%22instanceId%22%3A%22s%22%7D"
                    .to_owned(),
            ),
            headers: Vec::new(),
            upgrade: true,
        };
        let refused = Verdict::Close {
            code: 1013,
            reason: "AUTH_SERVICE_ERROR".to_owned(),
        };
        assert_eq!(admit(&mut host, &config, &request).verdict, refused);
        assert_eq!(host.lines_with("the clock"), 1);
        // Under a good one the token itself is looked at.
        host.now = Host::default().now;
        let refused = Verdict::Close {
            code: 4401,
            reason: "TOKEN_INVALID".to_owned(),
        };
        assert_eq!(admit(&mut host, &config, &request).verdict, refused);
    }
}
