//! A commit: what has happened becomes real, under the oracle's eyes.

use std::collections::BTreeMap;
use std::rc::Rc;

use syncline_guest::imports::ConnectionId;

use super::super::coverage::seen;
use super::super::wire::{self, Frame};
use super::super::world::{Happening, Turn};
use super::Run;

impl Run {
    /// What has happened becomes real: storage first, then the frames.
    pub(super) fn commit(&mut self) {
        self.world.storage.commit();
        let epochs = self.oracle.epochs.len();
        let mut frames: BTreeMap<ConnectionId, Vec<Rc<Frame>>> = BTreeMap::new();
        let happened = std::mem::take(&mut self.world.happened);
        let some_turn = happened.iter().any(|it| matches!(it, Happening::Turn(..)));
        let mut is_first = true;
        for happening in happened {
            if let Happening::Turn(..) = happening
                && !std::mem::take(&mut is_first)
            {
                seen("a commit of several turns");
                self.oracle.turn_ended();
                self.deliver(std::mem::take(&mut frames));
            }
            self.make_real(happening, &mut frames);
        }
        if some_turn {
            self.oracle.turn_ended();
        }
        self.deliver(frames);
        assert!(
            self.world.timer_ms.is_some()
                || self.world.timer_is_lost
                || !self.oracle.somebody_has_to_be_told(),
            "somebody waits, and no timer is set"
        );
        if self.oracle.epochs.len() > epochs.max(1) {
            for client in &mut self.v3 {
                client.wipe(&mut self.world.network);
            }
        }
    }

    fn make_real(
        &mut self,
        happening: Happening,
        frames: &mut BTreeMap<ConnectionId, Vec<Rc<Frame>>>,
    ) {
        let (oracle, network) = (&mut self.oracle, &mut self.world.network);
        match happening {
            Happening::Turn(turn, at_ms) => {
                if let Turn::Delivered(id) = turn
                    && let Some(subscriber) = network.subscribers.get_mut(&id)
                {
                    subscriber.unsettled = subscriber.unsettled.saturating_sub(1);
                }
                oracle.turn(&turn, at_ms);
            }
            Happening::Woke => oracle.woke(),
            Happening::Faulted => oracle.faulted(),
            Happening::Learnt => oracle.learnt(),
            Happening::Created(backend_id) => oracle.created(backend_id),
            Happening::Appended(batch) => oracle.appended(batch),
            Happening::Reset(backend_id) => oracle.reset(backend_id),
            Happening::Sent(to, text) => {
                let frame = Rc::new(wire::read(&text));
                oracle.sent(&to, &frame);
                for id in to {
                    frames.entry(id).or_default().push(Rc::clone(&frame));
                }
            }
            Happening::Subscribed(id, object) => {
                oracle.subscribed(id);
                // What was sent to it in this turn comes after.
                network.subscribe(id, object);
                frames.remove(&id);
            }
            Happening::Attached(id, attachment) => {
                if let Some(socket) = network.sockets.get_mut(&id) {
                    socket.attachment = Some(attachment);
                } else if let Some(subscriber) = network.subscribers.get_mut(&id) {
                    subscriber.attachment = Some(attachment);
                }
            }
            Happening::DrainAsked(id) => {
                oracle.drain_asked(id);
                if let Some(socket) = network.sockets.get_mut(&id) {
                    socket.drain_asked = true;
                }
            }
            Happening::TimerSet(after_ms) => {
                oracle.timer_set();
                self.world.set_timer(after_ms);
            }
            Happening::Closed(id, code) => {
                oracle.closed(id, code);
                self.deliver(std::mem::take(frames));
                if let Some(socket) = self.world.network.sockets.get_mut(&id) {
                    socket.closed = true;
                } else {
                    self.world.network.unsubscribe(id);
                }
            }
            Happening::Page(id, body, continuation) => {
                let exchange = network.exchanges.get_mut(&id).unwrap();
                let is_last = continuation.is_none();
                let answer = oracle.page(id, exchange.is_call, &body, is_last);
                exchange.continuation = continuation;
                exchange.answer = answer.map(Ok);
            }
        }
    }

    fn deliver(&mut self, frames: BTreeMap<ConnectionId, Vec<Rc<Frame>>>) {
        for (id, frames) in frames {
            if let Some(socket) = self.world.network.sockets.get_mut(&id)
                && !socket.closed
                && !socket.lost
            {
                socket.outbound.push_back(frames);
            } else if let Some(subscriber) = self.world.network.subscribers.get_mut(&id) {
                subscriber.waiting.extend(frames);
            }
        }
    }
}
