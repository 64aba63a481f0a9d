//! Calls by other Durable Objects: `protocol::do_rpc`, and how they are
//! admitted and refused.

use syncline_guest::admission::{admit_call, refusal};
use syncline_guest::config::Config;
use syncline_guest::limits::{CALL_MESSAGES_MAX, STORE_ID_BYTES_MAX};
use syncline_guest::protocol::rpc::readable_id;
use syncline_guest::protocol::{Carrier, Speech, Voice, do_rpc};

use crate::host::Host;
use crate::texts::{check_words, id_of, json};
use crate::transcripts::{Step, Transcript, distinct};
use crate::{Reached, Target};

/// The target.
pub const TARGET: Target = Target {
    name: "calls",
    check,
    corpus,
    words: &[
        r#"{"_tag":"Request","id":"1","tag":"SyncDoRpc.Ping","payload":{"storeId":"s"}},"#,
        r#""storeId":"s","#,
        "[[",
        "]]",
    ],
    reaches: &["admitted", "denied", "no call", "several"],
    runs: 25_000,
};

fn corpus(transcripts: &[Transcript]) -> Vec<Vec<u8>> {
    let steps = transcripts.iter().flat_map(|transcript| &transcript.steps);
    let calls = steps.filter_map(|step| match step {
        Step::Call(json) => Some(json.clone().into_bytes()),
        _ => None,
    });
    distinct(calls.collect())
}

/// Reads a call, admits it and refuses it.
///
/// # Panics
/// When something does not hold.
pub fn check(input: &[u8]) -> Reached {
    let mut reached = Vec::new();
    let mut ids = Vec::new();
    match do_rpc::messages(input) {
        Ok(messages) => {
            assert!(messages.len() <= CALL_MESSAGES_MAX);
            for message in &messages {
                let message = message.get().as_bytes();
                if let Err(words) = Voice::of_first(message, Carrier::Object).read(message) {
                    check_words(&words);
                }
                ids.extend(readable_id(message));
            }
            if messages.len() > 1 {
                reached.push("several");
            }
        }
        Err(words) => {
            check_words(&words);
            assert_eq!(do_rpc::store_id(input), None);
            reached.push("no call");
        }
    }

    // Who is refused hears it for each of his requests.
    let refusals = json(&refusal::call_body("CODE", "words", Some(1), input));
    let refusals = refusals.as_array().expect("an array");
    let answered = refusals.iter().filter_map(|it| id_of(&it["requestId"]));
    assert_eq!(answered.collect::<Vec<_>>(), ids);
    if ids.is_empty() {
        assert_eq!(refusals.len(), 1);
        assert_eq!(refusals[0]["_tag"], "Defect");
    }

    let mut host = Host::default();
    let config = Config::read(&mut host);
    match admit_call(&mut host, &config, input) {
        Ok(admission) => {
            assert_eq!(admission.speech, Some(Speech::OBJECT));
            assert_eq!(Some(&admission.store_id), do_rpc::store_id(input).as_ref());
            assert!((1..=STORE_ID_BYTES_MAX).contains(&admission.store_id.len()));
            reached.push("admitted");
        }
        Err(denial) => {
            check_words(&denial.cause.refused.message);
            assert!(json(&denial.answer).is_array());
            reached.push("denied");
        }
    }
    reached
}
