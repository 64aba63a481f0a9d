//! Frames of clients since 0.4: `protocol::rpc`, in each version's spelling and
//! for each carrier's procedures.

use serde_json::value::RawValue;
use syncline_guest::imports::Event;
use syncline_guest::limits::{PUSH_EVENTS_MAX, REQUEST_ID_BYTES_MAX};
use syncline_guest::protocol::chunk::{self, Packing};
use syncline_guest::protocol::event::{self, ItemForm};
use syncline_guest::protocol::rpc::readable_id;
use syncline_guest::protocol::{
    Call, CallError, Carrier, Decoded, Dialect, Message, PageInfo, Push, Reply, Voice, Why,
};

use crate::texts::{check_words, id_of, json};
use crate::transcripts::{self, Transcript};
use crate::{Reached, Target};

/// The target.
pub const TARGET: Target = Target {
    name: "frames_rpc",
    check,
    corpus,
    words: &[
        r#""_tag":"Request","#,
        r#""_tag":"Ack","#,
        r#""requestId":"0""#,
        r#""requestId":0"#,
        r#""id":0,"#,
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

/// Reads a frame as each version and carrier does.
///
/// # Panics
/// When something does not hold.
pub fn check(input: &[u8]) -> Reached {
    let mut reached = check_dialect(input, Dialect::V4);
    reached.extend(check_dialect(input, Dialect::Next));
    reached
}

fn check_dialect(input: &[u8], dialect: Dialect) -> Reached {
    let mut reached = Vec::new();
    let mut calls = 0;
    let mut kinds = Vec::new();
    for carrier in [Carrier::Socket, Carrier::Http, Carrier::Object] {
        let voice = Voice { dialect, carrier };
        let decoded = voice.read(input);
        kinds.push(kind(&decoded));
        check_spelling(input, voice, &decoded);
        match &decoded {
            Ok(Message::Request(id, call)) => {
                check_id(id);
                assert_eq!(readable_id(input).as_ref(), Some(id));
                calls += usize::from(call.is_ok());
                reached.push(check_call(voice, id, call));
            }
            Ok(Message::Ack(id) | Message::Interrupt(id)) => {
                check_id(id);
                reached.push("ack");
            }
            Ok(Message::Ping(_) | Message::Eof) => {}
            Err(words) => {
                check_words(words);
                assert!(readable_id(input).is_none(), "an Exit could answer it");
                let defect = json(&voice.defect(words));
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
    // Only which calls are offered is the carrier's.
    assert!(kinds.windows(2).all(|two| two[0] == two[1]), "{kinds:?}");
    assert!(calls <= 1, "a procedure of two groups");
    reached
}

fn kind(decoded: &Decoded<'_>) -> String {
    match decoded {
        Ok(Message::Request(id, _)) => format!("request {id}"),
        other => format!("{other:?}"),
    }
}

/// White space behind it changes nothing; so neither does the short way that
/// plain Acks take.
fn check_spelling(input: &[u8], voice: Voice, decoded: &Decoded<'_>) {
    let spaced = [input, b" \n"].concat();
    let again = voice.read(&spaced);
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

/// What an answer says of the request that it answers.
fn check_names(answer: &serde_json::Value, id: &str) {
    assert_eq!(id_of(&answer["requestId"]).as_deref(), Some(id));
}

/// The error of a failure, in either spelling.
fn error_of(exit: &serde_json::Value) -> &serde_json::Value {
    let cause = &exit["exit"]["cause"];
    &cause.get(0).unwrap_or(cause)["error"]
}

fn check_call(voice: Voice, id: &str, call: &Result<Call<'_>, CallError>) -> &'static str {
    match call {
        Ok(Call::Push(push)) => {
            check_push(voice, id, push);
            "push"
        }
        Ok(Call::Pull(pull)) => {
            let cursor = pull.cursor.as_ref();
            if let Some(received) = cursor.and_then(|cursor| cursor.backend_id.as_deref()) {
                let expected = "ours";
                let mismatch = Reply::BackendIdMismatch { expected, received };
                let exit = json(&voice.write(id, &mismatch));
                assert_eq!(error_of(&exit)["received"], received);
            }
            "pull"
        }
        Ok(Call::Ping(_)) => "ping",
        Ok(Call::AdminInfo(_) | Call::AdminReset(_)) => panic!("no such call"),
        Err(error) => {
            let (CallError::UnknownRpc(words) | CallError::Undecodable(words)) = error;
            if matches!(error, CallError::Undecodable(_)) {
                check_words(words);
            }
            let failed = Reply::Failed {
                code: "CODE",
                message: words,
                retry_after_ms: None,
            };
            let exit = json(&voice.write(id, &failed));
            check_names(&exit, id);
            assert_eq!(error_of(&exit)["payload"]["message"], words.as_str());
            "refused call"
        }
    }
}

fn check_push(voice: Voice, id: &str, push: &Push<'_>) {
    let batch = event::events(&push.batch);
    assert!(batch.len() <= PUSH_EVENTS_MAX + 1);
    let first = batch.first().map_or(0, |event| event.parent_seq_num);
    check_events(&batch, ItemForm::Tagged, |events| {
        let frame = format!(
            r#"{{"_tag":"Request","id":"1","tag":"SyncWsRpc.Push","payload":{{"storeId":"s","batch":[{events}],"backendId":{{"_tag":"None"}}}}}}"#
        );
        let voice = Voice::of_first(frame.as_bytes(), Carrier::Socket);
        let Ok(Message::Request(_, Ok(Call::Push(push)))) = voice.read(frame.as_bytes()) else {
            panic!("what we sent is no push: {frame}");
        };
        assert_eq!(event::events(&push.batch), batch);
    });
    let timed = batch.iter().map(|event| (*event, "t"));
    let form = voice.dialect.codec().item_form();
    let mut after = first;
    for chunk in chunk::pack(timed, (form, Packing::Pages), first, usize::MAX) {
        assert_eq!(chunk.after, after, "a gap between Chunks");
        after = chunk.last;
        let reply = Reply::Chunk {
            items: &chunk.items,
            page_info: PageInfo::NoMore,
            backend_id: "b",
            why: Why::Push,
        };
        check_names(&json(&voice.write(id, &reply)), id);
    }
    assert_eq!(after, batch.last().map_or(first, |event| event.seq_num));
}

/// What we send of events is those events: `read_again` gets the inside of a
/// batch as a client would push it.
pub(crate) fn check_events(batch: &[Event<'_>], form: ItemForm, read_again: impl FnOnce(&str)) {
    #[derive(serde::Deserialize)]
    struct Item<'a> {
        #[serde(rename = "eventEncoded", borrow)]
        event: &'a RawValue,
    }
    let mut events = Vec::new();
    for event in batch {
        let mut item = String::new();
        event::write_item(&mut item, form, event, "t");
        let item: Item<'_> = serde_json::from_str(&item).expect("an item");
        events.push(item.event.get().to_owned());
    }
    read_again(&events.join(","));
}
