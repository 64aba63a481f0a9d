//! What the oracle knows of one HTTP answer, which may take many turns.

use std::rc::Rc;

use serde_json::value::RawValue;
use syncline_guest::limits::{CHUNK_BYTES_MAX, CHUNK_EVENTS_MAX, WINDOW_BYTES_MAX};

use super::coverage::seen;
use super::history::Epoch;
use super::network::{Meaning, Said};
use super::subscription::{check_events, check_limits};
use super::wire::{self, Body, Exit, Frame};

/// One answer.
#[derive(Debug)]
pub struct HttpAnswer {
    pub said: Rc<Said>,
    /// Storage failed while it was under way.
    pub faulted: bool,
    body: String,
    /// The log's incarnation and head when it began.
    began: Option<(String, u64)>,
}

impl HttpAnswer {
    pub fn new(said: &Rc<Said>) -> Self {
        Self {
            said: Rc::clone(said),
            faulted: false,
            body: String::new(),
            began: None,
        }
    }

    /// I7: a page is bounded, however long the answer.
    /// `log` comes with its head as far as the room can know.
    pub fn page(&mut self, log: Option<(&Epoch, u64)>, body: &str) {
        assert!(
            body.len() <= WINDOW_BYTES_MAX + CHUNK_BYTES_MAX,
            "I7: a page of {} bytes",
            body.len()
        );
        if self.began.is_none() {
            self.began = log.map(|(log, head)| (log.backend_id.clone(), head));
        }
        if !self.body.is_empty() {
            seen("an HTTP pull of several turns");
        }
        self.body.push_str(body);
    }

    /// The complete answer: one JSON array, or one a page to a call.
    pub fn frames(&self, is_call: bool) -> Vec<Frame> {
        let arrays = serde_json::Deserializer::from_str(&self.body).into_iter();
        let arrays: Vec<Vec<&RawValue>> = arrays
            .collect::<Result<_, _>>()
            .unwrap_or_else(|error| panic!("an answer that is no array: {error}"));
        assert!(arrays.len() == 1 || is_call, "an answer of several arrays");
        let frames = arrays.iter().flatten();
        frames.map(|frame| wire::read(frame.get())).collect()
    }

    /// I3, D4: a pull's answer is a run of the log up to the head as it was
    /// when the pull began. Returns where it ended, if it did so well.
    pub fn check_pull(&self, epochs: &[Epoch], frames: &[Frame]) -> Option<u64> {
        let Meaning::Pull { cursor, .. } = &self.said.meaning else {
            panic!("an answer to {:?}", self.said.meaning)
        };
        let (last, chunks) = frames.split_last().expect("an empty answer");
        let mut at = cursor.as_ref().map_or(0, |(_, after)| *after);
        for frame in chunks {
            let Body::Chunk {
                events,
                remaining,
                backend_id,
                ..
            } = &frame.body
            else {
                panic!("{:?} before the Exit", frame.body)
            };
            let (began, until) = self.began.as_ref().expect("a Chunk without a log");
            assert_eq!(backend_id, began, "I8: the backend id");
            let log = epochs.iter().find(|epoch| epoch.backend_id == *began);
            if at >= *until {
                assert!(
                    events.is_empty() || chunks.len() > 1,
                    "I3: events from nowhere"
                );
            }
            if !events.is_empty() {
                check_events(log.unwrap(), &mut at, events);
            }
            check_limits(frame.bytes, events.len(), CHUNK_EVENTS_MAX);
            let more = until.checked_sub(at).filter(|&more| more > 0);
            assert_eq!(*remaining, more, "D4: `remaining` at {at} of {until}");
        }
        let Body::Exit { exit, .. } = &last.body else {
            panic!("an answer without Exit")
        };
        match exit {
            Exit::Success => {
                let until = self.began.as_ref().map_or(0, |(_, until)| *until);
                assert!(
                    at >= until && !chunks.is_empty(),
                    "I3: an answer to {at} of {until}"
                );
                let has_none = |frame: &Frame| matches!(&frame.body, Body::Chunk { events, .. } if events.is_empty());
                if at > until && chunks.iter().all(has_none) {
                    seen("a pull from beyond the head");
                    return Some(until);
                }
                return Some(at);
            }
            Exit::BackendIdMismatch { expected, received } => {
                if !chunks.is_empty() {
                    seen("an HTTP pull ended by a reset");
                }
                assert_ne!(expected, received, "I8: no mismatch");
                assert_eq!(*expected, epochs.last().unwrap().backend_id, "I8");
            }
            Exit::Unknown { code } => assert!(self.faulted, "{code} without a fault"),
            other => panic!("a pull ended with {other:?}"),
        }
        None
    }
}
