//! One run: which turn comes next, what goes wrong, and when it is committed.

use std::rc::Rc;

use fastrand::Rng;
use syncline_guest::admission::Admission;
use syncline_guest::room::{Frame as Message, Room};

use super::client_http::ClientHttp;
use super::client_object::ClientObject;
use super::client_v3::ClientV3;
use super::client_v4::{ClientV4, Pace};
use super::coverage::seen;
use super::history::Epoch;
use super::network::{Meaning, Owner};
use super::oracle::Oracle;
use super::world::{Happening, Turn, World};

#[path = "calm.rs"]
mod calm;
#[path = "commit.rs"]
mod commit;
#[path = "faults.rs"]
mod faults;

use faults::Faults;

/// Rounds in which everybody has to have converged once the faults are over.
const CALM_ROUNDS_MAX: u32 = 2_000;

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
    objects: Vec<ClientObject>,
    faults: Faults,
    steps: u32,
    /// Turns that were run, for the report.
    pub turns: u64,
}

const NAMES: [&str; 10] = [
    "ada", "bob", "cyd", "dan", "eve", "fay", "gus", "hal", "ida", "jan",
];

impl Run {
    /// Everything about a run follows from its seed.
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let heavy = rng.u32(0..8) == 0;
        let mut names = NAMES.into_iter();
        let mut some = |count: usize| names.by_ref().take(count).collect::<Vec<_>>();
        let v4 = some(rng.usize(1..=4));
        let v3 = some(rng.usize(0..=2));
        let http = some(rng.usize(0..=2));
        let objects = some(rng.usize(0..=2));
        let paces = [Pace::Prompt, Pace::Prompt, Pace::Late, Pace::Withheld];
        let faults = Faults::some(&mut rng);
        // Time goes as slowly as clients in a burst, or as fast as people.
        let ticks_ms: [u64; 3] = if heavy { [500, 500, 60] } else { [500, 60, 6] };
        let tick_ms_max = ticks_ms[rng.usize(0..ticks_ms.len())];
        let mut world = World::new(Rng::with_seed(rng.u64(..)), tick_ms_max);
        let mut oracle = Oracle::default();
        if rng.u32(0..4) == 0 {
            let first = if rng.bool() { 1 } else { rng.u64(2..20_000) };
            let (backend_id, events) = world.storage.found(first, rng.u64(500..2_000));
            oracle.founded(backend_id, &events);
        }
        Self {
            world,
            oracle,
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
            objects: objects
                .into_iter()
                .map(|name| ClientObject::new(name, heavy))
                .collect(),
            faults,
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
        panic!(
            "liveness: the head is {:?}, and not all converged when all was calm: {:#?} {:#?} {:#?} {:#?}",
            self.oracle.epochs.last().map(Epoch::head),
            self.v4,
            self.v3,
            self.http,
            self.objects
        );
    }

    fn client_acts(&mut self) {
        let (v4, v3, http) = (self.v4.len(), self.v3.len(), self.http.len());
        let chosen = self.rng.usize(0..v4 + v3 + http + self.objects.len());
        let network = &mut self.world.network;
        if chosen < v4 {
            self.v4[chosen].act(network, &mut self.rng, false);
        } else if chosen < v4 + v3 {
            self.v3[chosen - v4].act(network, &mut self.rng, false);
        } else if chosen < v4 + v3 + http {
            self.http[chosen - v4 - v3].act(network, &mut self.rng, false);
        } else {
            self.objects[chosen - v4 - v3 - http].act(network, &mut self.rng, false);
        }
    }

    /// One turn, and what may go wrong with it.
    fn room_acts(&mut self) {
        // A reset while an answer is under way is rare, and worth seeing.
        let mut exchanges = self.world.network.exchanges.values();
        let is_answering = exchanges.any(|exchange| exchange.continuation.is_some());
        let hurry = if is_answering { 40 } else { 1 };
        if self.happens(self.faults.reset.div_ceil(hurry)) {
            self.ask_for_reset();
        }
        if self.happens(self.faults.writer) {
            self.write_elsewhere();
        }
        if self.happens(self.faults.clock) {
            self.set_clock();
        }
        let mut turn = self.next_turn();
        if turn.is_none() && self.rng.u32(0..4) == 0 {
            turn = self.time_passes();
        }
        if let Some(turn) = turn {
            self.turn_with_faults(turn);
        }
    }

    fn turn_with_faults(&mut self, turn: Turn) {
        self.turn(turn);
        if self.happens(self.faults.trap) {
            seen("a turn trapped");
            self.world.undo_turn();
            self.commit();
            self.crash();
        } else if self.happens(self.faults.sleep) {
            // A room sleeps when it is idle: all is committed.
            self.commit();
            self.fall_asleep();
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

    /// Something that waits for the room, whatever it is.
    fn next_turn(&mut self) -> Option<Turn> {
        if let Some(turn) = self.urgent_turn() {
            return Some(turn);
        }
        let network = &self.world.network;
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
        for (&id, subscriber) in &network.subscribers {
            // What becomes of an earlier subscription's frames is nobody's.
            if subscriber.untold > 0 && !self.world.is_subscribing(id) {
                waiting.push(Turn::Delivered(id));
            }
        }
        waiting.extend(network.let_go.iter().map(|&id| Turn::Gone(id)));
        for (&id, exchange) in &network.exchanges {
            if !exchange.asked {
                waiting.push(Turn::Request(id, Rc::clone(&exchange.request)));
            } else if exchange.continuation.is_some() {
                waiting.push(Turn::Resume(id));
            }
        }
        if self
            .world
            .timer_ms
            .is_some_and(|at_ms| at_ms <= self.world.elapsed_ms)
        {
            waiting.push(Turn::Wake);
        }
        if waiting.is_empty() {
            return None;
        }
        Some(waiting.swap_remove(self.rng.usize(0..waiting.len())))
    }

    /// Nothing happens until the timer is over.
    fn time_passes(&mut self) -> Option<Turn> {
        self.world.elapsed_ms = self.world.elapsed_ms.max(self.world.timer_ms?);
        Some(Turn::Wake)
    }

    /// What does not wait: a reset, so that it comes between the pages of an
    /// answer.
    fn urgent_turn(&self) -> Option<Turn> {
        let sockets = self.world.network.sockets.iter();
        let mut open = sockets.filter(|(_, socket)| !socket.closed);
        open.find_map(|(&id, socket)| {
            if socket.owner == Owner::Admin && !socket.opened {
                return Some(Turn::Opened(id, socket.owner));
            }
            let said = socket.inbound.front().filter(|_| socket.opened)?;
            let is_urgent = matches!(said.meaning, Meaning::AdminReset);
            is_urgent.then(|| Turn::Message(id, Rc::clone(said)))
        })
    }

    fn turn(&mut self, turn: Turn) {
        self.turns += 1;
        let mut room = match self.room.take() {
            Some(room) => room,
            None => {
                assert!(self.world.happened.is_empty(), "rooms start when idle");
                self.world.happened.push(Happening::Woke);
                self.world.log_is_open = false;
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
                // An alarm, for a subscriber.
                if let Some(socket) = world.network.sockets.get_mut(&id) {
                    socket.drain_asked = false;
                }
                room.drained(world, id);
            }
            Turn::Wake => room.wake(world),
            Turn::Delivered(id) => {
                let subscriber = world.network.subscribers.get_mut(&id).unwrap();
                subscriber.untold -= 1;
                subscriber.unsettled += 1;
                room.delivered(world, id);
            }
            Turn::Gone(id) => {
                world.network.sockets.remove(&id);
                world.network.let_go.retain(|&gone| gone != id);
                room.closed(world, id);
            }
            Turn::Request(id, said) => {
                let exchange = world.network.exchanges.get_mut(&id).unwrap();
                exchange.asked = true;
                let owner = if exchange.is_call {
                    Owner::Object
                } else {
                    Owner::V4
                };
                let answer = room.request(world, &admission(owner), said.text.as_bytes());
                assert_eq!(answer.status, 200);
                world.answered(id, answer.first);
            }
            Turn::Resume(id) => {
                let exchange = world.network.exchanges.get_mut(&id).unwrap();
                let continuation = exchange.continuation.take().unwrap();
                let page = room.resume(world, &continuation);
                world.answered(id, page);
            }
        }
        self.room = Some(room);
    }
}

fn admission(owner: Owner) -> Admission {
    Admission {
        store_id: "store".to_owned(),
        speech: Some(owner.speech()),
        principal: r#"{"v":1,"kind":"anonymous"}"#.to_owned(),
        response_headers: Vec::new(),
        auto_response: None,
    }
}
