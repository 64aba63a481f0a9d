//! Other Durable Objects that pull, page by page: each turn knows who called
//! in it, whatever turns of others run between (`room/paged.rs`).

use syncline_guest::protocol::Speech;
use syncline_guest::room::{Page, Room};

use super::host::{Host, admission, numbers, pull, start};

fn principal(user: &str) -> String {
    format!(r#"{{"v":1,"kind":"user","userId":"{user}","exp":1,"claimsVersion":1}}"#)
}

/// A live pull by the object with this id, admitted as somebody.
fn call(room: &mut Room, host: &mut Host, object: &str, user: &str) -> Page {
    let context = format!(
        r#""rpcContext":{{"callerContext":{{"bindingName":"CLIENTS","durableObjectId":"{object}"}}}},"live""#
    );
    let request = pull("SyncDoRpc", "7", true, None).replace(r#""live""#, &context);
    let admission = admission(Speech::OBJECT, &principal(user));
    let answer = room.request(host, &admission, format!("[{request}]").as_bytes());
    assert_eq!(answer.status, 200);
    answer.first
}

/// Takes an answer to its end, in a room that may have been thrown away before
/// each page.
fn finish(room: &mut Room, host: &mut Host, mut page: Page, forgets: bool) -> Vec<u64> {
    let mut seen = numbers(&[page.body]);
    while let Some(continuation) = page.continuation {
        if forgets {
            *room = start(host);
        }
        page = room.resume(host, &continuation);
        seen.extend(numbers(&[page.body]));
    }
    seen
}

/// A host whose log takes several pages, and who may subscribe.
fn host() -> Host {
    let mut host = Host::default();
    host.env.insert("DO_RPC_CLIENTS", "CLIENTS".to_owned());
    host.write_elsewhere(2_000);
    host
}

/// Whose the subscription is that an object has, by its attachment.
fn is_of(host: &Host, object: &str, user: &str) -> bool {
    let attachment = &host.attachments[&host.subscribed[object]];
    attachment.contains(&format!(r#""userId":"{user}""#))
}

#[test]
fn answers_that_are_written_in_turns_belong_to_who_asked_for_them() {
    for forgets in [false, true] {
        let mut host = host();
        let mut room = start(&mut host);
        let one = call(&mut room, &mut host, "one", "anna");
        let other = call(&mut room, &mut host, "other", "ben");
        assert!(one.continuation.is_some() && other.continuation.is_some());
        // Whoever called last is somebody else, each time.
        let all: Vec<u64> = (1..=2_000).collect();
        assert_eq!(finish(&mut room, &mut host, one, forgets), all);
        assert_eq!(finish(&mut room, &mut host, other, forgets), all);
        assert!(is_of(&host, "one", "anna"), "{:?}", host.attachments);
        assert!(is_of(&host, "other", "ben"), "{:?}", host.attachments);
    }
}

/// Between two pages there may be calls of every kind.
#[test]
fn an_answer_is_not_the_callers_between() {
    let mut host = host();
    let mut room = start(&mut host);
    let page = call(&mut room, &mut host, "one", "anna");
    for (speech, group) in [(Speech::OBJECT, "SyncDoRpc"), (Speech::HTTP, "SyncHttpRpc")] {
        let request = pull(group, "8", false, None);
        let body = if group == "SyncDoRpc" {
            format!("[{request}]")
        } else {
            request
        };
        let ben = admission(speech, &principal("ben"));
        room.request(&mut host, &ben, body.as_bytes());
    }
    finish(&mut room, &mut host, page, false);
    assert!(is_of(&host, "one", "anna"), "{:?}", host.attachments);
    assert_eq!(host.subscribed.len(), 1);
}
