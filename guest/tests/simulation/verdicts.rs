//! The oracle's checks of what was sent: frames and HTTP pages.

use std::collections::BTreeSet;
use std::rc::Rc;

use syncline_guest::imports::ConnectionId;

use super::super::coverage::seen;
use super::super::feed::Shown;
use super::super::network::{Meaning, Owner, Said};
use super::super::subscription::{Subscription, Waited};
use super::super::wire::{Body, Exit, Frame};
use super::{Asker, Oracle};

impl Oracle {
    /// A frame was sent.
    pub fn sent(&mut self, to: &[ConnectionId], frame: &Frame) {
        let distinct: BTreeSet<_> = to.iter().collect();
        assert_eq!(distinct.len(), to.len(), "I3: one frame twice to a socket");
        for &id in to {
            match self.owners.get(&id) {
                Some(Owner::V4 | Owner::Object) => self.sent_v4(id, frame),
                Some(Owner::V3 { .. }) => self.sent_v3(id, frame),
                Some(Owner::Admin) | None => {}
            }
        }
    }

    fn sent_v4(&mut self, id: ConnectionId, frame: &Frame) {
        match &frame.body {
            Body::Chunk {
                request,
                events,
                remaining,
                backend_id,
            } => {
                let head = self.head();
                let log = self.epochs.last().expect("a Chunk without a log");
                assert_eq!(*backend_id, log.backend_id, "I8: the backend id");
                let pull = self.pulls.get_mut(&(id, request.clone()));
                let pull = pull.expect("I3: a Chunk for a pull that is not there");
                if let Some(since) = pull.chunk(log, head, frame.bytes, events, *remaining) {
                    self.told(id, since);
                }
            }
            Body::Exit { request, exit } => {
                if let Some(pull) = self.pulls.get(&(id, request.clone())) {
                    self.pull_ended(id, pull, exit);
                    self.pulls.remove(&(id, request.clone()));
                } else {
                    self.push_answered(Asker::Socket(id), request, exit);
                }
            }
            Body::Pong => {}
            other => panic!("a 0.4 client was sent {other:?}"),
        }
    }

    /// A client was told of what it had waited for.
    fn told(&mut self, id: ConnectionId, waited: Waited) {
        let moment = self.moment;
        if let Some(conduct) = self.conducts.get_mut(&id) {
            conduct.told(moment);
        }
        let is_own = matches!(&self.turn.said, Some((asker, _)) if *asker == Asker::Socket(id));
        seen(if self.turn.is_wake {
            "a client that edits was told when the timer was over"
        } else if is_own && self.turn.appended.is_some() {
            "a client that edits was told when its push landed"
        } else {
            "a client that edits was told in another's turn"
        });
        if waited == Waited::ThroughSleep {
            seen("a client that edits was told after the room had slept");
        }
    }

    fn pull_ended(&self, id: ConnectionId, pull: &Subscription, exit: &Exit) {
        let said = self.turn.said.as_ref().map(|(_, said)| &said.meaning);
        match exit {
            Exit::Success => pull.succeeded(),
            Exit::Interrupted => {
                seen("a pull was interrupted");
                if pull.waits() {
                    seen("a pull that waited was interrupted");
                }
                assert!(matches!(said, Some(Meaning::Interrupt(_))));
            }
            Exit::Unknown { code } => {
                assert!(!pull.live, "D10: a live pull of {id} ended with {code}");
                if code == "TOO_MANY_PULLS" {
                    assert!(self.has_pull_too_many(id), "{code} for few pulls");
                } else {
                    assert!(self.turn.faulted, "{code} without a fault");
                }
            }
            Exit::BackendIdMismatch { expected, received } => {
                assert_eq!(*expected, self.log().backend_id, "I8: the backend id");
                match said {
                    Some(Meaning::AdminReset) => {
                        seen("a live pull ended by a reset");
                        if pull.waits() {
                            seen("a pull that waited was ended by a reset");
                        }
                    }
                    Some(Meaning::Pull {
                        cursor: Some((given, _)),
                        ..
                    }) => assert!(given != expected && given == received, "I8: no mismatch"),
                    other => panic!("I8: a pull ended with a mismatch by {other:?}"),
                }
            }
            Exit::ServerAhead { .. } => panic!("a pull ended with a ServerAheadError"),
        }
    }

    /// I1, I4: a push's answer is the truth.
    fn push_answered(&mut self, asker: Asker, request: &str, exit: &Exit) {
        self.turn.answers += 1;
        let (by, said) = self.turn.said.clone().expect("an answer to nobody");
        let Meaning::Push {
            id,
            backend_id,
            batch,
        } = &said.meaning
        else {
            panic!("{exit:?} for {request}, which is no push")
        };
        assert!(by == asker && id == request, "an answer to another push");
        let stored = self.turn.appended.is_some();
        assert_eq!(*exit == Exit::Success, stored, "I1: {exit:?}");
        match exit {
            Exit::Success => {
                seen("a push was accepted");
                assert!(self.log().holds(batch), "I1: not in the log");
            }
            Exit::ServerAhead { head, provided } => {
                seen("a push was refused: ServerAheadError");
                if let Asker::Socket(id) = asker {
                    let moment = self.moment;
                    self.conduct(id, |conduct| conduct.refused(moment));
                }
                assert_eq!(*head, self.head(), "I4: the head");
                assert_eq!(*provided, batch[0].parent_seq_num, "I4: the parent");
                if provided > head {
                    seen("a push from beyond the head");
                }
                assert!(
                    provided != head && *provided != self.log().head(),
                    "I4: refused, although its parent is the head"
                );
            }
            Exit::BackendIdMismatch { expected, received } => {
                assert_eq!(*expected, self.log().backend_id, "I8: the backend id");
                seen("a push was refused: BackendIdMismatchError");
                assert!(backend_id == received && received != expected, "I8");
            }
            Exit::Unknown { code } => {
                seen("a push was refused: storage");
                assert!(self.turn.faulted && code.starts_with("STORAGE_"), "{code}");
            }
            Exit::Interrupted => panic!("a push was interrupted"),
        }
    }

    fn sent_v3(&mut self, id: ConnectionId, frame: &Frame) {
        let Some(feed) = self.feeds.get_mut(&id) else {
            return;
        };
        match &frame.body {
            Body::PullRes {
                is_pull,
                request,
                events,
                remaining,
            } => {
                let log = self.epochs.last().expect("a PullRes without a log");
                let head = self.believed.unwrap_or(log.head());
                let shown = Shown {
                    bytes: frame.bytes,
                    is_pull: *is_pull,
                    request,
                    events,
                    remaining: *remaining,
                };
                feed.pull_res(log, head, &shown);
            }
            Body::PushAck { request } => {
                let batch = self.answered_v3(id, request);
                let Meaning::PushV3 { batch, .. } = &batch.meaning else {
                    panic!("a PushAck for no push")
                };
                if self.turn.appended.is_none() {
                    seen("a 0.3 push was repeated and acknowledged");
                }
                assert!(self.log().holds(batch), "I1: not in the log");
                if let Some(feed) = self.feeds.get_mut(&id) {
                    feed.acknowledged(batch[batch.len() - 1].seq_num);
                }
            }
            Body::Error { request, message } if feed.is_pulling(request) => {
                assert!(self.turn.faulted, "{message} without a fault");
                feed.pull_failed();
            }
            Body::Error { request, message } => {
                let said = self.answered_v3(id, request);
                self.refused_v3(id, &said.meaning, message);
            }
            other => panic!("a 0.3 client was sent {other:?}"),
        }
    }

    /// I4: a refusal is the truth, or storage failed.
    fn refused_v3(&mut self, id: ConnectionId, said: &Meaning, message: &str) {
        let Meaning::PushV3 { batch, .. } = said else {
            panic!("{message} for no push")
        };
        assert!(self.turn.appended.is_none(), "I1: {message}");
        let (head, provided) = (self.head(), batch[0].parent_seq_num);
        let expected =
            format!("Invalid parent event number. Received e{provided} but expected e{head}");
        if message != expected {
            assert!(self.turn.faulted, "I4: {message} at {head}");
            return;
        }
        assert!(head != provided && self.log().head() != provided, "I4");
        let log = self.epochs.last().expect("a refusal without a log");
        if let Some(feed) = self.feeds.get_mut(&id)
            && !self.turn.faulted
        {
            feed.refused(log, batch);
        }
        if provided < head {
            self.turn.behind = Some(id);
        }
    }

    /// The request that this answers.
    fn answered_v3(&mut self, id: ConnectionId, request: &str) -> Rc<Said> {
        self.turn.answers += 1;
        let (by, said) = self.turn.said.clone().expect("an answer to nobody");
        assert_eq!(by, Asker::Socket(id), "an answer to another client");
        let (Meaning::PushV3 { id: asked, .. } | Meaning::PullV3 { id: asked, .. }) = &said.meaning
        else {
            panic!("an answer to nothing")
        };
        assert_eq!(asked, request, "an answer to another request");
        said
    }

    /// A page of an HTTP answer; the frames, once it is complete.
    pub fn page(
        &mut self,
        exchange: u32,
        is_call: bool,
        body: &str,
        is_last: bool,
    ) -> Option<Vec<Frame>> {
        let head = self.head();
        let answer = self.answers.get_mut(&exchange).expect("an answer");
        answer.page(self.epochs.last().map(|log| (log, head)), body);
        if !is_last {
            return None;
        }
        let answer = self.answers.remove(&exchange)?;
        let frames = answer.frames(is_call);
        if let Meaning::Push { .. } = answer.said.meaning {
            assert_eq!(frames.len(), 1, "a push has one answer");
            if let Body::Exit { request, exit } = &frames[0].body {
                self.push_answered(Asker::Http(exchange), request, exit);
            }
        } else {
            let end = answer.check_pull(&self.epochs, &frames);
            let Meaning::Pull { id, live, .. } = &answer.said.meaning else {
                panic!("an answer to {:?}", answer.said.meaning)
            };
            self.subscribing = end.filter(|_| is_call && *live).map(|at| (id.clone(), at));
        }
        Some(frames)
    }
}
