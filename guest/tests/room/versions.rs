//! What another version of Syncline has written: attachments and principals.

use syncline_guest::limits::{
    ATTACHMENT_BYTES_MAX, PRINCIPAL_BYTES_MAX, PULLS_MAX, REQUEST_ID_BYTES_MAX, SEQ_NUM_MAX,
};
use syncline_guest::protocol::Speech;

use super::host::{Host, ack, admission, anybody, numbers, pull, push, say, start};

#[test]
fn an_attachment_that_is_not_known_closes_its_connection_alone() {
    let strange = [
        (
            r#"{"v":3,"principal":{"v":1,"kind":"server"},"pulls":[]}"#,
            "VERSION_UNKNOWN",
        ),
        (r#"{"v":3,"all":"new"}"#, "VERSION_UNKNOWN"),
        (
            r#"{"v":1,"principal":{"v":9,"kind":"server"},"v4":[]}"#,
            "VERSION_UNKNOWN",
        ),
        (r#"{"v":2,"principal":{"v":1,"kind":"server"}}"#, "INTERNAL"),
        (r#"{"principal":{"kind":"server"}}"#, "INTERNAL"),
        (
            r#"{"v":2,"principal":{"v":1,"kind":"server"},"pulls":[],"feed":"unknown"}"#,
            "INTERNAL",
        ),
        (r#"{"v":1,"principal":null,"v4":[]}"#, "INTERNAL"),
        ("", "INTERNAL"),
        ("null", "INTERNAL"),
    ];
    let mut host = Host::default();
    for ((attachment, _), id) in strange.iter().zip(1..) {
        host.attachments.insert(id, (*attachment).to_owned());
    }
    // Of the versions before: a live pull and a 0.3 feed.
    let before = [
        (
            50,
            r#"{"principal":{"kind":"anonymous"},"v4":[{"id":"1","live":true,"at":"live"}]}"#,
        ),
        (
            51,
            r#"{"principal":{"kind":"anonymous"},"v3":{"live":{"acknowledged":0}}}"#,
        ),
    ];
    for (id, attachment) in before {
        host.attachments.insert(id, attachment.to_owned());
    }
    let mut room = start(&mut host);
    let closed: Vec<_> = host
        .closed
        .iter()
        .map(|(id, code, why)| (*id, *code, why.as_str()))
        .collect();
    let due: Vec<_> = strange
        .iter()
        .zip(1..)
        .map(|((_, why), id)| (id, 1011, *why))
        .collect();
    assert_eq!(closed, due);
    assert_eq!(host.lines_with("is closed"), strange.len());
    room.open(&mut host, 60, &anybody(Speech::SOCKET));
    say(&mut room, &mut host, 60, push("SyncWsRpc", "1", 0, 1));
    assert_eq!(numbers(&host.take_sent(50)), [1]);
    assert_eq!(numbers(&host.take_sent(51)), [1]);
    // From here on they are of this version.
    assert!(host.attachments[&50].starts_with(r#"{"v":2,"#));
}

#[test]
fn who_was_admitted_by_another_version_is_told_to_come_again() {
    let principal = r#"{"v":2,"kind":"user","userId":"u"}"#;
    for speech in [Speech::SOCKET, Speech::SOCKET_V3] {
        let mut host = Host::default();
        let mut room = start(&mut host);
        room.open(&mut host, 1, &admission(speech, principal));
        let close = (1, 1011, "VERSION_UNKNOWN".to_owned());
        assert_eq!(host.closed, [close]);
        // Nothing is left of it.
        say(&mut room, &mut host, 1, push("SyncWsRpc", "1", 0, 1));
        assert!(host.events.is_empty() && host.sent.is_empty());
        assert!(host.attachments.is_empty());
    }
    let mut host = Host::default();
    let mut room = start(&mut host);
    for (speech, group, status) in [
        (Speech::HTTP, "SyncHttpRpc", 503),
        (Speech::OBJECT, "SyncDoRpc", 200),
    ] {
        let request = push(group, "77", 0, 1);
        let body = if status == 200 {
            format!("[{request}]")
        } else {
            request
        };
        let answer = room.request(&mut host, &admission(speech, principal), body.as_bytes());
        assert_eq!(answer.status, status);
        assert!(answer.first.body.contains(r#""code":"VERSION_UNKNOWN""#));
        assert!(answer.first.body.contains(r#""requestId":"77""#));
        assert!(host.events.is_empty());
    }
}

/// The largest attachment that a client can bring about fits what hosts keep.
#[test]
fn i7_the_largest_attachment_fits() {
    let mut host = Host::default();
    host.write_elsewhere(1);
    host.events[0].seq_num = SEQ_NUM_MAX - 1;
    let mut room = start(&mut host);
    let frame = r#"{"v":1,"kind":"user","userId":"","exp":1}"#;
    let user_id = "u".repeat(PRINCIPAL_BYTES_MAX - frame.len());
    let principal = frame.replace(r#""userId":"""#, &format!(r#""userId":"{user_id}""#));
    assert_eq!(principal.len(), PRINCIPAL_BYTES_MAX);
    room.open(&mut host, 1, &admission(Speech::SOCKET, &principal));
    for n in 0..PULLS_MAX {
        let id = format!("{n}").repeat(REQUEST_ID_BYTES_MAX);
        let id = &id[..REQUEST_ID_BYTES_MAX];
        say(&mut room, &mut host, 1, pull("SyncWsRpc", id, true, None));
    }
    assert!(host.closed.is_empty());
    let bytes = host.attachments[&1].len();
    assert!(bytes < ATTACHMENT_BYTES_MAX as usize, "{bytes}");
    // It comes back whole.
    let mut room = start(&mut host);
    say(
        &mut room,
        &mut host,
        1,
        ack(&"7".repeat(REQUEST_ID_BYTES_MAX)),
    );
    assert!(host.closed.is_empty());
    assert!(host.attachments[&1].len() > PRINCIPAL_BYTES_MAX);
}
