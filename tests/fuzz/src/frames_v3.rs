//! Frames of 0.3 clients.

use syncline_guest::limits::REQUEST_ID_V3_BYTES_MAX;
use syncline_guest::protocol::event::{self, ItemForm};
use syncline_guest::protocol::{
    Call, CallError, Carrier, Dialect, Message, PageInfo, Reply, Voice, Why,
};

use crate::frames_rpc::check_events;
use crate::texts::{check_words, json};
use crate::transcripts::{self, Transcript};
use crate::{Reached, Target};

/// The target.
pub const TARGET: Target = Target {
    name: "frames_v3",
    check,
    corpus,
    words: &[
        r#""_tag":"WSMessage.PushReq","#,
        r#""_tag":"WSMessage.AdminInfoReq","#,
        r#""requestId":"ping","#,
        r#""cursor":null,"#,
        r#","args":null"#,
        r#""adminSecret":"#,
    ],
    reaches: &["push", "pull", "ping", "admin", "refused", "no request id"],
    runs: 40_000,
};

fn corpus(transcripts: &[Transcript]) -> Vec<Vec<u8>> {
    let mut frames = transcripts::frames(transcripts);
    frames.retain(|frame| String::from_utf8_lossy(frame).contains("WSMessage"));
    frames
}

const VOICE: Voice = Voice {
    dialect: Dialect::V3,
    carrier: Carrier::Socket,
};

/// Reads a frame.
///
/// # Panics
/// When something does not hold.
pub fn check(input: &[u8]) -> Reached {
    let (id, call) = match VOICE.read(input) {
        Err(words) => {
            check_words(&words);
            let error = json(&VOICE.defect(&words));
            assert_eq!(error["message"], words);
            assert_eq!(error["requestId"], "");
            return vec!["no request id"];
        }
        Ok(Message::Ping(id)) => (id, None),
        Ok(Message::Request(id, call)) => (id, Some(call)),
        Ok(other) => panic!("0.3 has no such message: {other:?}"),
    };
    assert!(id.len() <= REQUEST_ID_V3_BYTES_MAX);
    assert_eq!(json(&VOICE.write(&id, &Reply::Pushed))["requestId"], id);
    let nothing = Reply::Chunk {
        items: "",
        page_info: PageInfo::NoMore,
        backend_id: "b",
        why: Why::Push,
    };
    let res = json(&VOICE.write(&id, &nothing));
    assert_eq!(res["requestId"]["requestId"], id);
    vec![match call {
        None => "ping",
        Some(Err(error)) => {
            let (CallError::UnknownRpc(words) | CallError::Undecodable(words)) = &error;
            check_words(words);
            let failed = Reply::Failed {
                code: "CODE",
                message: words,
                retry_after_ms: None,
            };
            let error = json(&VOICE.write(&id, &failed));
            assert_eq!(error["message"], words.as_str());
            assert_eq!(error["requestId"], id);
            "refused"
        }
        Some(Ok(Call::Push(push))) => {
            let batch = event::events(&push.batch);
            check_events(&batch, ItemForm::Bare, |events| {
                let frame =
                    format!(r#"{{"_tag":"WSMessage.PushReq","requestId":"1","batch":[{events}]}}"#);
                let Ok(Message::Request(_, Ok(Call::Push(again)))) = VOICE.read(frame.as_bytes())
                else {
                    panic!("what we sent is no push: {frame}");
                };
                assert_eq!(event::events(&again.batch), batch);
            });
            "push"
        }
        Some(Ok(Call::Pull(_))) => "pull",
        Some(Ok(Call::AdminInfo(_) | Call::AdminReset(_))) => "admin",
        Some(Ok(Call::Ping(_))) => panic!("0.3 has no such call"),
    }]
}
