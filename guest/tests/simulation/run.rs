//! One run: which turn comes next, what goes wrong, and when it is committed.

use std::collections::BTreeMap;
use std::rc::Rc;

use fastrand::Rng;
use syncline_guest::admission::Admission;
use syncline_guest::imports::ConnectionId;
use syncline_guest::room::{Frame as Message, Room};

use super::client_http::ClientHttp;
use super::client_v3::ClientV3;
use super::client_v4::{ClientV4, Pace};
use super::coverage::seen;
use super::network::{Meaning, Owner};
use super::oracle::Oracle;
use super::rules::Rules;
use super::wire::{self, Frame};
use super::world::{ADMIN_SECRET, Happening, Turn, World};

/// Rounds in which everybody has to have converged once the faults are over.
const CALM_ROUNDS_MAX: u32 = 2_000;

/// How often what goes wrong: one in so many turns; 0 for never.
#[derive(Debug, Clone, Copy, Default)]
struct Faults {
    trap: u32,
    commit: u32,
    sleep: u32,
    reset: u32,
    storage: u32,
}

/// A room, its clients, and what may happen to them.
#[derive(Debug)]
pub struct Run {
    rng: Rng,
    world: World,
    oracle: Oracle,
    room: Option<Room>,
    v4: Vec<ClientV4>,
    v3: Vec<ClientV3>,
    http: Vec<ClientHttp>,
    faults: Faults,
    rules: Rules,
    steps: u32,
    /// Turns that were run, for the report.
    pub turns: u64,
}

const NAMES: [&str; 8] = ["ada", "bob", "cyd", "dan", "eve", "fay", "gus", "hal"];

impl Run {
    /// Everything about a run follows from its seed.
    pub fn new(seed: u64, rules: Rules) -> Self {
        let mut rng = Rng::with_seed(seed);
        let heavy = rng.u32(0..8) == 0;
        let mut names = NAMES.into_iter();
        let mut some = |count: usize| names.by_ref().take(count).collect::<Vec<_>>();
        let v4 = some(rng.usize(1..=4));
        let v3 = some(rng.usize(0..=2));
        let http = some(rng.usize(0..=2));
        let paces = [Pace::Prompt, Pace::Prompt, Pace::Late, Pace::Withheld];
        let one_in = |rng: &mut Rng, from: u32| {
            if rng.bool() {
                rng.u32(from..from * 8)
            } else {
                0
            }
        };
        let faults = Faults {
            trap: one_in(&mut rng, 30),
            commit: one_in(&mut rng, 30),
            sleep: one_in(&mut rng, 4),
            reset: one_in(&mut rng, 80),
            storage: one_in(&mut rng, 20),
        };
        Self {
            world: World::new(Rng::with_seed(rng.u64(..))),
            oracle: Oracle::new(rules),
            room: None,
            v4: v4
                .into_iter()
                .map(|name| ClientV4::new(name, heavy, paces[rng.usize(0..paces.len())]))
                .collect(),
            v3: v3
                .into_iter()
                .map(|name| ClientV3::new(name, heavy))
                .collect(),
            http: http
                .into_iter()
                .map(|name| ClientHttp::new(name, heavy))
                .collect(),
            faults,
            rules,
            steps: rng.u32(100..=if heavy { 400 } else { 1_500 }),
            turns: 0,
            rng,
        }
    }

    /// Plays it to its end; panics when a check fails.
    pub fn play(&mut self) {
        self.world.storage_fault_one_in = self.faults.storage;
        for _ in 0..self.steps {
            if self.rng.u32(0..100) < 55 {
                self.client_acts();
            } else {
                self.room_acts();
            }
        }
        self.commit();
        self.faults = Faults::default();
        self.world.storage_fault_one_in = 0;
        for _ in 0..CALM_ROUNDS_MAX {
            if self.has_converged() {
                self.check_end();
                return;
            }
            self.calm_round();
        }
        panic!("liveness: not converged when all was calm: {:#?}", self.v4);
    }

    fn client_acts(&mut self) {
        let (v4, v3) = (self.v4.len(), self.v3.len());
        let chosen = self.rng.usize(0..v4 + v3 + self.http.len());
        let network = &mut self.world.network;
        if chosen < v4 {
            self.v4[chosen].act(network, &mut self.rng, false);
        } else if chosen < v4 + v3 {
            self.v3[chosen - v4].act(network, &mut self.rng, false);
        } else {
            self.http[chosen - v4 - v3].act(network, &mut self.rng, false);
        }
    }

    fn calm_round(&mut self) {
        let network = &mut self.world.network;
        self.rng.shuffle(&mut self.v4);
        for client in &mut self.v4 {
            client.act(network, &mut self.rng, true);
        }
        for client in &mut self.v3 {
            client.act(network, &mut self.rng, true);
        }
        for client in &mut self.http {
            client.act(network, &mut self.rng, true);
        }
        while let Some(turn) = self.next_turn() {
            self.turn(turn);
            self.commit();
        }
    }

    /// One turn, and what may go wrong with it.
    fn room_acts(&mut self) {
        if self.happens(self.faults.reset) {
            self.ask_for_reset();
        }
        let Some(turn) = self.next_turn() else {
            return;
        };
        self.turn(turn);
        if self.happens(self.faults.trap) {
            seen("a turn trapped");
            self.world.undo_turn();
            self.commit();
            self.crash();
        } else if self.happens(self.faults.sleep) {
            // A room sleeps when it is idle: all is committed.
            seen("a room slept");
            self.commit();
            self.room = None;
        } else if self.rng.u32(0..3) > 0 {
            if self.happens(self.faults.commit) {
                seen("a commit failed");
                self.world.happened.clear();
                self.world.storage.roll_back();
                self.crash();
            } else {
                self.commit();
            }
        }
    }

    fn happens(&mut self, one_in: u32) -> bool {
        one_in > 0 && self.rng.u32(0..one_in) == 0
    }

    fn ask_for_reset(&mut self) {
        let network = &mut self.world.network;
        let id = network.connect(Owner::Admin);
        let text = format!(
            r#"{{"_tag":"WSMessage.AdminResetRoomReq","requestId":"r","adminSecret":"{ADMIN_SECRET}"}}"#
        );
        network.say(id, text, Meaning::AdminReset);
    }

    /// Something that waits for the room, whatever it is.
    fn next_turn(&mut self) -> Option<Turn> {
        if !self.rules.first_pull_race
            && let Some(turn) = self.first_pull()
        {
            return Some(turn);
        }
        let network = &mut self.world.network;
        let mut waiting = Vec::new();
        for (&id, socket) in &network.sockets {
            if socket.closed {
                continue;
            }
            if !socket.opened {
                waiting.push(Turn::Opened(id, socket.owner));
            } else if let Some(said) = socket.inbound.front() {
                waiting.push(Turn::Message(id, Rc::clone(said)));
            } else if socket.lost {
                waiting.push(Turn::Gone(id));
            }
            if socket.drain_asked && socket.outbound.is_empty() && !socket.lost {
                waiting.push(Turn::Drained(id));
            }
        }
        for (&id, exchange) in &network.exchanges {
            if !exchange.asked {
                waiting.push(Turn::Request(id, Rc::clone(&exchange.request)));
            } else if exchange.continuation.is_some() {
                waiting.push(Turn::Resume(id));
            }
        }
        if waiting.is_empty() {
            return None;
        }
        Some(waiting.swap_remove(self.rng.usize(0..waiting.len())))
    }

    /// The pull of a 0.3 socket that was just opened.
    fn first_pull(&self) -> Option<Turn> {
        let mut sockets = self.world.network.sockets.iter();
        sockets.find_map(|(&id, socket)| {
            let said = socket.inbound.front()?;
            let is_pull = matches!(said.meaning, Meaning::PullV3 { .. });
            (socket.opened && !socket.closed && is_pull).then(|| Turn::Message(id, Rc::clone(said)))
        })
    }

    fn turn(&mut self, turn: Turn) {
        self.turns += 1;
        let mut room = match self.room.take() {
            Some(room) => room,
            None => {
                assert!(self.world.happened.is_empty(), "rooms start when idle");
                self.world.happened.push(Happening::Woke);
                Room::start(&mut self.world, "store".to_owned())
            }
        };
        self.world.begin_turn(turn.clone());
        let world = &mut self.world;
        match turn {
            Turn::Opened(id, owner) => {
                world.network.sockets.get_mut(&id).unwrap().opened = true;
                room.open(world, id, &admission(owner));
            }
            Turn::Message(id, said) => {
                let socket = world.network.sockets.get_mut(&id).unwrap();
                socket.inbound.pop_front();
                room.message(world, id, &Message::Text(said.text.clone()));
            }
            Turn::Drained(id) => {
                world.network.sockets.get_mut(&id).unwrap().drain_asked = false;
                room.drained(world, id);
            }
            Turn::Gone(id) => {
                world.network.sockets.remove(&id);
                room.closed(id);
            }
            Turn::Request(id, said) => {
                world.network.exchanges.get_mut(&id).unwrap().asked = true;
                let answer = room.request(world, &admission(Owner::V4), said.text.as_bytes());
                assert_eq!(answer.status, 200);
                let page = answer.first;
                let page = Happening::Page(id, page.body, page.continuation);
                world.happened.push(page);
            }
            Turn::Resume(id) => {
                let exchange = world.network.exchanges.get_mut(&id).unwrap();
                let continuation = exchange.continuation.take().unwrap();
                let page = room.resume(world, &continuation);
                let page = Happening::Page(id, page.body, page.continuation);
                world.happened.push(page);
            }
        }
        self.room = Some(room);
    }

    /// The room is thrown away, and its sockets are closed.
    fn crash(&mut self) {
        self.room = None;
        self.world.network.crash();
        self.oracle.crashed();
    }

    /// What has happened becomes real: storage first, then the frames.
    fn commit(&mut self) {
        self.world.storage.commit();
        let epochs = self.oracle.epochs.len();
        let mut frames: BTreeMap<ConnectionId, Vec<Rc<Frame>>> = BTreeMap::new();
        let happened = std::mem::take(&mut self.world.happened);
        let some_turn = happened.iter().any(|it| matches!(it, Happening::Turn(_)));
        let mut is_first = true;
        for happening in happened {
            if let Happening::Turn(_) = happening
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
            Happening::Turn(turn) => oracle.turn(&turn),
            Happening::Woke => oracle.woke(),
            Happening::Faulted => oracle.faulted(),
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
            Happening::Attached(id, attachment) => {
                if let Some(socket) = network.sockets.get_mut(&id) {
                    socket.attachment = Some(attachment);
                }
            }
            Happening::DrainAsked(id) => {
                oracle.drain_asked(id);
                if let Some(socket) = network.sockets.get_mut(&id) {
                    socket.drain_asked = true;
                }
            }
            Happening::Closed(id, code) => {
                oracle.closed(id, code);
                self.deliver(std::mem::take(frames));
                if let Some(socket) = self.world.network.sockets.get_mut(&id) {
                    socket.closed = true;
                }
            }
            Happening::Page(id, body, continuation) => {
                let answer = oracle.page(id, &body, continuation.is_none());
                let exchange = network.exchanges.get_mut(&id).unwrap();
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
            }
        }
    }

    fn has_converged(&self) -> bool {
        let Some(log) = self.oracle.epochs.last() else {
            return false;
        };
        let v4 = self.v4.iter().map(|it| (&it.replica, it.is_settled()));
        let v3 = self.v3.iter().map(|it| (&it.replica, it.is_settled()));
        let http = self.http.iter().map(|it| (&it.replica, it.is_settled()));
        v4.chain(v3).chain(http).all(|(replica, is_settled)| {
            is_settled
                && replica.cursor == log.head()
                && replica
                    .backend_id
                    .as_ref()
                    .is_none_or(|id| *id == log.backend_id)
        })
    }

    /// I1: what storage holds is what the oracle saw committed.
    fn check_end(&self) {
        let log = self.oracle.epochs.last().unwrap();
        assert!(self.world.storage.durable_events() == log.events.as_slice());
    }
}

fn admission(owner: Owner) -> Admission {
    Admission {
        store_id: "store".to_owned(),
        transport: owner.transport(),
        principal: r#"{"kind":"anonymous"}"#.to_owned(),
        response_headers: Vec::new(),
        auto_response: None,
    }
}
