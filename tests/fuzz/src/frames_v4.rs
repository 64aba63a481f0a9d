//! Frames of 0.4 clients: `protocol::v4`, for each transport's procedures.

use serde_json::value::RawValue;
use syncline_guest::imports::Event;
use syncline_guest::limits::{PUSH_EVENTS_MAX, REQUEST_ID_BYTES_MAX};
use syncline_guest::protocol::chunk::{self, Packing};
use syncline_guest::protocol::event::{self, Dialect};
use syncline_guest::protocol::v4::{self, Call, CallError, Group, Message, Push};

use crate::texts::{check_words, json};
use crate::transcripts::{self, Transcript};
use crate::{Reached, Target};

/// The target.
pub const TARGET: Target = Target {
    name: "frames_v4",
    check,
    corpus,
    words: &[
        r#""_tag":"Request","#,
        r#""_tag":"Ack","#,
        r#""requestId":"0""#,
        r#""live":true,"#,
        r#""cursor":{"_tag":"None"},"#,
        r#","args":null"#,
        r#""tag":"SyncWsRpc.Push","#,
        r#""tag":"SyncHttpRpc.Ping","#,
    ],
    reaches: &["push", "pull", "ping", "ack", "refused call", "no message"],
    runs: 40_000,
};

fn corpus(transcripts: &[Transcript]) -> Vec<Vec<u8>> {
    transcripts::frames(transcripts)
}

/// Decodes a frame as each transport does.
///
/// # Panics
/// When something does not hold.
pub fn check(input: &[u8]) -> Reached {
    let mut reached = Vec::new();
    let mut calls = 0;
    let mut kinds = Vec::new();
    for group in [Group::Ws, Group::Http, Group::Object] {
        let decoded = v4::decode(input, group);
        kinds.push(kind(&decoded));
        check_spelling(input, group, &decoded);
        match &decoded {
            Ok(Message::Request(id, call)) => {
                check_id(id);
                assert_eq!(v4::readable_id(input).as_ref(), Some(id));
                calls += usize::from(call.is_ok());
                reached.push(check_call(id, call));
            }
            Ok(Message::Ack(id) | Message::Interrupt(id)) => {
                check_id(id);
                reached.push("ack");
            }
            Ok(Message::Ping | Message::Eof) => {}
            Err(words) => {
                check_words(words);
                assert!(v4::readable_id(input).is_none(), "an Exit could answer it");
                let defect = json(&v4::defect(words));
                assert_eq!(defect["defect"]["message"], words.as_str());
                reached.push("no message");
            }
        }
        if decoded.is_ok() {
            serde_json::from_slice::<&RawValue>(input).ok().or_else(|| {
                // What is passed over may be no text.
                let text = String::from_utf8_lossy(input);
                serde_json::from_str::<&RawValue>(&text).expect("a message is JSON");
                None
            });
        }
    }
    // Only which calls are offered is the transport's.
    assert!(kinds.windows(2).all(|two| two[0] == two[1]), "{kinds:?}");
    assert!(calls <= 1, "a procedure of two groups");
    reached
}

fn kind(decoded: &Result<Message<'_>, String>) -> String {
    match decoded {
        Ok(Message::Request(id, _)) => format!("request {id}"),
        other => format!("{other:?}"),
    }
}

/// White space behind it changes nothing; so neither does the short way that
/// plain Acks take.
fn check_spelling(input: &[u8], group: Group, decoded: &Result<Message<'_>, String>) {
    let spaced = [input, b" \n"].concat();
    let again = v4::decode(&spaced, group);
    assert_eq!(decoded.is_ok(), again.is_ok());
    if let (Ok(one), Ok(other)) = (decoded, &again) {
        assert_eq!(kind(decoded), kind(&again));
        if !matches!(one, Message::Request(_, Err(_))) {
            assert_eq!(format!("{one:?}"), format!("{other:?}"));
        }
    }
}

fn check_id(id: &str) {
    assert!((1..=REQUEST_ID_BYTES_MAX).contains(&id.len()), "{id}");
    assert!(id.bytes().all(|byte| byte.is_ascii_digit()), "{id}");
}

fn check_call(id: &str, call: &Result<Call<'_>, CallError>) -> &'static str {
    match call {
        Ok(Call::Push(push)) => {
            check_push(id, push);
            "push"
        }
        Ok(Call::Pull(pull)) => {
            if let Some(cursor) = pull.cursor() {
                let exit = v4::exit_backend_id_mismatch(id, "ours", &cursor.backend_id);
                let error = &json(&exit)["exit"]["cause"]["error"];
                assert_eq!(error["received"], cursor.backend_id.as_str());
            }
            "pull"
        }
        Ok(Call::Ping(_)) => "ping",
        Err(error) => {
            let (CallError::UnknownRpc(words) | CallError::Undecodable(words)) = error;
            if matches!(error, CallError::Undecodable(_)) {
                check_words(words);
            }
            let exit = json(&v4::exit_unknown_error(id, "CODE", words, None));
            assert_eq!(exit["requestId"], id);
            let payload = &exit["exit"]["cause"]["error"]["payload"];
            assert_eq!(payload["message"], words.as_str());
            "refused call"
        }
    }
}

fn check_push(id: &str, push: &Push<'_>) {
    let batch = event::events(&push.batch);
    assert!(batch.len() <= PUSH_EVENTS_MAX + 1);
    let first = batch.first().map_or(0, |event| event.parent_seq_num);
    check_events(&batch, Dialect::V4, |events| {
        let frame = format!(
            r#"{{"_tag":"Request","id":"1","tag":"SyncWsRpc.Push","payload":{{"storeId":"s","batch":[{events}],"backendId":{{"_tag":"None"}}}}}}"#
        );
        let Ok(Message::Request(_, Ok(Call::Push(push)))) = v4::decode(frame.as_bytes(), Group::Ws)
        else {
            panic!("what we sent is no push: {frame}");
        };
        assert_eq!(event::events(&push.batch), batch);
    });
    let timed = batch.iter().map(|event| (*event, "t"));
    let mut after = first;
    for chunk in chunk::pack(timed, Packing::V4, first, usize::MAX) {
        assert_eq!(chunk.after, after, "a gap between Chunks");
        after = chunk.last;
        let frame = v4::chunk(id, &chunk.items, v4::PageInfo::NoMore, "b");
        assert_eq!(json(&frame)["requestId"], id);
    }
    assert_eq!(after, batch.last().map_or(first, |event| event.seq_num));
}

/// What we send of events is those events: `read_again` gets the inside of a
/// batch as a client would push it.
pub(crate) fn check_events(batch: &[Event<'_>], dialect: Dialect, read_again: impl FnOnce(&str)) {
    #[derive(serde::Deserialize)]
    struct Item<'a> {
        #[serde(rename = "eventEncoded", borrow)]
        event: &'a RawValue,
    }
    let mut events = Vec::new();
    for event in batch {
        let mut item = String::new();
        event::write_item(&mut item, dialect, event, "t");
        let item: Item<'_> = serde_json::from_str(&item).expect("an item");
        events.push(item.event.get().to_owned());
    }
    read_again(&events.join(","));
}
