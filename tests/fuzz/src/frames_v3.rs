//! Frames of 0.3 clients: `protocol::v3`.

use syncline_guest::limits::REQUEST_ID_V3_BYTES_MAX;
use syncline_guest::protocol::event::{self, Dialect};
use syncline_guest::protocol::v3::{self, Message};

use crate::frames_v4::check_events;
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

/// Decodes a frame.
///
/// # Panics
/// When something does not hold.
pub fn check(input: &[u8]) -> Reached {
    let (request_id, message) = v3::decode(input);
    let id = request_id.as_deref();
    assert!(id.is_none_or(|id| id.len() <= REQUEST_ID_V3_BYTES_MAX));
    let reached = match message {
        Err(words) => {
            check_words(&words);
            let error = json(&v3::error(id, &words));
            assert_eq!(error["message"], words);
            assert_eq!(error["requestId"], id.unwrap_or_default());
            if id.is_some() {
                "refused"
            } else {
                "no request id"
            }
        }
        Ok(message) => {
            let id = id.expect("a message that can be answered has an id");
            assert_eq!(json(&v3::push_ack(id))["requestId"], id);
            let res = json(&v3::pull_res("", v3::Context::Push, id, 0));
            assert_eq!(res["requestId"]["requestId"], id);
            match message {
                Message::Push(batch) => {
                    let batch = event::events(&batch);
                    check_events(&batch, Dialect::V3, |events| {
                        let frame = format!(
                            r#"{{"_tag":"WSMessage.PushReq","requestId":"1","batch":[{events}]}}"#
                        );
                        let (_, Ok(Message::Push(again))) = v3::decode(frame.as_bytes()) else {
                            panic!("what we sent is no push: {frame}");
                        };
                        assert_eq!(event::events(&again), batch);
                    });
                    "push"
                }
                Message::Pull(_) => "pull",
                Message::Ping => "ping",
                Message::AdminInfo(_) | Message::AdminReset(_) => "admin",
            }
        }
    };
    vec![reached]
}
