//! What is held against everything that a room says and stores: every event
//! shown is one of the log's, in order and once; who is refused is told why;
//! nothing holds a secret.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use syncline_guest::imports::{ConnectionId, Event, StoredEvent};
use syncline_guest::limits::SEQ_NUM_MAX;
use syncline_guest::protocol::event::{self, ItemForm};
use syncline_guest::protocol::rpc::readable_id;
use syncline_guest::protocol::{Call, Carrier, Dialect, Message, Speech, Voice, do_rpc};

use crate::Reached;
use crate::host::Host;
use crate::room::pull_of;
use crate::texts::{check_holds_none, check_words, id_of, json, unsaid};

/// As the transcripts have it, so that a reset is in the corpus.
pub(crate) const ADMIN_SECRET: &str = "change-me";

/// One that nobody says.
pub(crate) const JWT_SECRET: &str = "jwt-W8yq3VnH0sZc5RkT1uXo7EpLbD4gMfJa";

/// The subscribers of the plain host.
const SUBSCRIBERS: Range<ConnectionId> = 1_000..2_000;

/// What is known of a room from outside.
pub(crate) struct Watch {
    open: BTreeMap<ConnectionId, Speech>,
    /// Of each subscription the last event it got, where that can be known.
    at: BTreeMap<(ConnectionId, String), Option<u64>>,
    /// Every event that was ever stored, as 0.4 and 0.3 clients see it.
    items: BTreeSet<String>,
    known: usize,
    backend_id: String,
    secrets: Vec<&'static str>,
    reached: BTreeSet<&'static str>,
}

/// A Chunk or a `PullRes`: the events in it.
#[derive(Deserialize)]
struct Shown<'a> {
    #[serde(rename = "requestId", borrow, default)]
    request_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    values: Vec<Batch<'a>>,
    #[serde(borrow, default)]
    batch: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Batch<'a> {
    #[serde(borrow)]
    batch: Vec<&'a RawValue>,
}

impl Watch {
    pub(crate) fn new(input: &[u8]) -> Self {
        let secrets = unsaid(&String::from_utf8_lossy(input), &[ADMIN_SECRET, JWT_SECRET]);
        Self {
            open: BTreeMap::new(),
            at: BTreeMap::new(),
            items: BTreeSet::new(),
            known: 0,
            backend_id: "first".to_owned(),
            secrets,
            reached: BTreeSet::new(),
        }
    }

    pub(crate) fn reaches(&mut self, what: &'static str) {
        self.reached.insert(what);
    }

    pub(crate) fn reached(self) -> Reached {
        self.reached.into_iter().collect()
    }

    pub(crate) fn is_open(&self, id: ConnectionId) -> bool {
        self.open.contains_key(&id)
    }

    pub(crate) fn opened(&mut self, id: ConnectionId, speech: Speech) {
        self.open.insert(id, speech);
    }

    pub(crate) fn gone(&mut self, id: ConnectionId) {
        self.open.remove(&id);
        self.at.retain(|(it, _), _| *it != id);
    }

    /// Where each subscription is cannot be known any more.
    pub(crate) fn forgets_where_they_are(&mut self) {
        self.at.values_mut().for_each(|at| *at = None);
    }

    /// A client says this: a pull begins where it says.
    pub(crate) fn says(&mut self, host: &Host, id: ConnectionId, body: &[u8]) {
        let speech = self.open.get_mut(&id).expect("an open connection");
        speech.dialect = speech.dialect.or_else(|| Dialect::of_first(body));
        let voice = self.voice(id);
        if voice.dialect.rpc().is_some()
            && let Some((request_id, after)) = pull_of(voice, body)
        {
            // Who is ahead of the log is served from its head on.
            let after = after.filter(|after| *after <= host.head());
            self.at.insert((id, request_id), after);
        }
    }

    /// What came of a message: this turn's frames are still the host's.
    pub(crate) fn is_answered(&mut self, host: &Host, id: ConnectionId, body: &[u8]) {
        let frames = host.sent.iter().filter(|(to, _)| *to == id);
        let frames: Vec<Value> = frames.map(|(_, frame)| json(frame)).collect();
        let is_closed = host.closed.iter().any(|(it, _, _)| *it == id);
        let Some(speech) = self.open.get(&id) else {
            return;
        };
        let error = if speech.dialect == Some(Dialect::V3) {
            self.answer_v3(host, body, &frames)
        } else {
            self.answer_rpc(host, (self.voice(id), body), &frames)
        };
        match error {
            Answer::None => {}
            Answer::Missing => assert!(is_closed, "neither answered nor closed"),
            Answer::Refused(words) => {
                check_words(&words);
                self.reaches("refused");
            }
        }
    }

    fn voice(&self, id: ConnectionId) -> Voice {
        let speech = self.open.get(&id).expect("an open connection");
        Voice {
            dialect: speech.dialect.unwrap_or(Dialect::V4),
            carrier: speech.carrier,
        }
    }

    fn answer_rpc(
        &mut self,
        host: &Host,
        (voice, body): (Voice, &[u8]),
        frames: &[Value],
    ) -> Answer {
        let (id, events) = match voice.read(body) {
            Err(_) => {
                let words = frames
                    .iter()
                    .find_map(|it| it["defect"]["message"].as_str());
                self.reaches("not understood");
                return refused_or_missing(words);
            }
            Ok(Message::Request(id, Err(_))) => {
                let words = exit_of(frames, &id).and_then(words_of);
                return refused_or_missing(words.as_deref());
            }
            Ok(Message::Request(id, Ok(Call::Push(push)))) => {
                (id, owned(&event::events(&push.batch)))
            }
            Ok(_) => return Answer::None,
        };
        let Some(exit) = exit_of(frames, &id) else {
            return Answer::Missing;
        };
        if exit["exit"]["_tag"] == "Success" {
            self.landed(host, &events);
            return Answer::None;
        }
        refused_or_missing(words_of(exit).as_deref())
    }

    fn answer_v3(&mut self, host: &Host, body: &[u8], frames: &[Value]) -> Answer {
        let tagged = |tag: &str| frames.iter().find(|it| it["_tag"] == tag);
        let error = || tagged("WSMessage.Error").and_then(|it| it["message"].as_str());
        let voice = Voice {
            dialect: Dialect::V3,
            carrier: Carrier::Socket,
        };
        match voice.read(body) {
            Err(_) | Ok(Message::Request(_, Err(_))) => {
                self.reaches("not understood");
                refused_or_missing(error())
            }
            Ok(Message::Request(_, Ok(Call::Push(push)))) => {
                if tagged("WSMessage.PushAck").is_some() {
                    // It may be one that it repeats, which landed before.
                    let stored = texts(&host.events);
                    let batch = owned(&event::events(&push.batch));
                    assert!(batch.iter().all(|it| stored.contains(it)), "not stored");
                    return Answer::None;
                }
                refused_or_missing(error())
            }
            _ => Answer::None,
        }
    }

    /// I1, I2: a push that is acknowledged is the end of the log.
    fn landed(&mut self, host: &Host, batch: &[String]) {
        assert!(
            texts(&host.events).ends_with(batch),
            "not stored: {batch:?}"
        );
        if !batch.is_empty() {
            self.reaches("landed");
        }
    }

    /// An answer over HTTP, or to another Durable Object.
    pub(crate) fn answered(&mut self, host: &Host, speech: Speech, body: &[u8], pages: &[String]) {
        self.remember(host);
        self.reaches("page");
        let ids: Vec<String> = match speech.carrier {
            Carrier::Http => readable_id(body).into_iter().collect(),
            _ => do_rpc::messages(body)
                .unwrap_or_default()
                .iter()
                .filter_map(|it| readable_id(it.get().as_bytes()))
                .collect(),
        };
        let arrays: Vec<String> = match speech.carrier {
            Carrier::Http => vec![pages.concat()],
            _ => pages.to_vec(),
        };
        for text in arrays {
            check_holds_none(&text, &self.secrets);
            let messages: Vec<&RawValue> =
                serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
            for message in messages {
                let value = json(message.get());
                if let Some(id) = id_of(&value["requestId"]) {
                    assert!(ids.contains(&id), "of nobody's: {value}");
                }
                if let Some(words) = words_of(&value) {
                    check_words(&words);
                }
                self.shown(message.get(), None);
            }
        }
    }

    /// Holds against the log what was sent in this turn.
    pub(crate) fn turn_is_over(&mut self, host: &mut Host) {
        self.remember(host);
        for (to, frame) in std::mem::take(&mut host.sent) {
            let is_subscriber = SUBSCRIBERS.contains(&to);
            assert!(is_subscriber || self.is_open(to), "sent to nobody: {to}");
            check_holds_none(&frame, &self.secrets);
            self.shown(&frame, (!is_subscriber).then_some(to));
        }
        for (id, code, reason) in std::mem::take(&mut host.closed) {
            assert!((1..=123).contains(&reason.len()), "{code} without a reason");
            check_holds_none(&reason, &self.secrets);
            self.gone(id);
            self.reaches("closed by the room");
        }
        for line in std::mem::take(&mut host.lines) {
            check_holds_none(&line, &self.secrets);
        }
        for attachment in host.attachments.values() {
            check_holds_none(attachment, &self.secrets);
        }
    }

    /// I4: the log is one chain. What is new in it may be shown from now on.
    fn remember(&mut self, host: &Host) {
        if host.backend_id != self.backend_id || host.events.len() < self.known {
            self.backend_id.clone_from(&host.backend_id);
            self.known = 0;
            self.forgets_where_they_are();
            self.reaches("reset");
        }
        let mut before = match self.known {
            0 => None,
            known => Some(host.events[known - 1].seq_num),
        };
        for event in &host.events[self.known..] {
            assert_eq!(event.parent_seq_num, before.unwrap_or(0));
            assert!(before.is_none_or(|before| event.seq_num == before + 1));
            assert!((1..=SEQ_NUM_MAX).contains(&event.seq_num));
            before = Some(event.seq_num);
            for form in [ItemForm::Tagged, ItemForm::Complete, ItemForm::Bare] {
                let mut item = String::new();
                event::write_item(&mut item, form, &event.event(), &event.created_at);
                self.items.insert(item);
            }
        }
        self.known = host.events.len();
    }

    /// I3: events that are stored, in their order, without gap or duplicate.
    fn shown(&mut self, frame: &str, to: Option<ConnectionId>) {
        let Ok(shown) = serde_json::from_str::<Shown<'_>>(frame) else {
            json(frame);
            return;
        };
        // 0.3 clients are told another kind of id, and may say it twice.
        let request_id = shown.request_id.map(RawValue::get);
        let request_id = request_id.filter(|it| !it.starts_with('{'));
        let request_id = request_id.map(|it| it.trim_matches('"'));
        let batches = shown.values.into_iter().map(|it| it.batch);
        for batch in batches.chain([shown.batch]) {
            let mut before = None;
            for item in batch {
                assert!(self.items.contains(item.get()), "never stored: {item}");
                let event = &json(item.get())["eventEncoded"];
                let seq_num = event["seqNum"].as_u64();
                let parent = event["parentSeqNum"].as_u64();
                if before.is_some() {
                    assert_eq!(parent, before, "a gap in: {frame}");
                } else if let (Some(to), Some(request_id)) = (to, request_id)
                    && let Some(Some(at)) = self.at.get(&(to, request_id.to_owned()))
                {
                    assert!(parent <= Some(*at) && seq_num > Some(*at), "{at}: {frame}");
                }
                before = seq_num;
                self.reaches("shown");
            }
            if let (Some(to), Some(request_id), Some(_)) = (to, request_id, before) {
                self.at.insert((to, request_id.to_owned()), before);
            }
        }
    }
}

/// What a client was told.
enum Answer {
    /// Nothing, or success.
    None,
    /// Nothing, where something is due.
    Missing,
    /// These words.
    Refused(String),
}

fn refused_or_missing(words: Option<&str>) -> Answer {
    words.map_or(Answer::Missing, |words| Answer::Refused(words.to_owned()))
}

fn exit_of<'a>(frames: &'a [Value], id: &str) -> Option<&'a Value> {
    let mut frames = frames.iter();
    frames.find(|it| it["_tag"] == "Exit" && id_of(&it["requestId"]).as_deref() == Some(id))
}

/// Why an Exit failed, or what a Defect says.
fn words_of(message: &Value) -> Option<String> {
    if let Some(words) = message["defect"]["message"].as_str() {
        return Some(words.to_owned());
    }
    let cause = &message["exit"]["cause"];
    let error = cause.get(0).unwrap_or(cause).get("error")?;
    Some(match error["_tag"].as_str() {
        Some("UnknownError") => error["payload"]["message"].as_str()?.to_owned(),
        // These say it in numbers and ids.
        _ => error["_tag"].as_str()?.to_owned(),
    })
}

/// An event as text, but for its time.
fn text(event: &Event<'_>) -> String {
    format!("{event:?}")
}

fn owned(batch: &[Event<'_>]) -> Vec<String> {
    batch.iter().map(text).collect()
}

fn texts(events: &[StoredEvent]) -> Vec<String> {
    events.iter().map(|event| text(&event.event())).collect()
}
