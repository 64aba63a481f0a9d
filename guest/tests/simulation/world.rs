//! The simulated host: the guest's imports, with staged effects. What a turn
//! did stands in `happened` and becomes real at the commit, when the oracle
//! replays it; a trap cuts it back to where the turn began.

use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fastrand::Rng;
use syncline_guest::imports::{
    AttachError, Callback, Claims, ConnectionId, Connections, Diagnostics, Event, EventLog, Level,
    LogInfo, Opening, QuotaDenied, Quotas, StorageError, StoredEvent, SubscribeError, System,
    Telemetry, Timer,
};

use syncline_guest::limits::ATTACHMENT_BYTES_MAX;
use syncline_guest::room::Page;

use super::network::{Network, Owner, Said};
use super::storage::Storage;

/// The binding that leads to the simulated objects.
pub const BINDING: &str = "CLIENT";

/// The longest that a room may ask for (`wit/timer.wit`).
const WAKE_AFTER_MS_MAX: u32 = 5_000;

/// What the administrator knows.
pub const ADMIN_SECRET: &str = "simulated-secret";

/// One thing that happened, in order.
#[derive(Debug)]
pub enum Happening {
    /// A turn began with this, so many milliseconds after the run did.
    Turn(Turn, u64),
    /// A room instance was started from the attachments.
    Woke,
    /// A storage call of this turn failed.
    Faulted,
    /// Storage told the room where the head is.
    Learnt,
    /// The log was created.
    Created(String),
    /// A batch was appended.
    Appended(Vec<Rc<StoredEvent>>),
    /// The log was emptied.
    Reset(String),
    /// The room sent a frame.
    Sent(Vec<ConnectionId>, String),
    /// The room subscribed an object.
    Subscribed(ConnectionId, String),
    /// The room set an attachment.
    Attached(ConnectionId, String),
    /// The room asked for a `drained` turn.
    DrainAsked(ConnectionId),
    /// The room asked for a `wake` turn in so many milliseconds.
    TimerSet(u32),
    /// The room closed a socket.
    Closed(ConnectionId, u16),
    /// A page of an HTTP answer, and what the next one needs.
    Page(u32, String, Option<String>),
}

/// What a turn is about.
#[derive(Debug, Clone)]
pub enum Turn {
    Opened(ConnectionId, Owner),
    Message(ConnectionId, Rc<Said>),
    Drained(ConnectionId),
    /// The timer's time is over.
    Wake,
    /// A subscriber took a frame.
    Delivered(ConnectionId),
    Gone(ConnectionId),
    Request(u32, Rc<Said>),
    Resume(u32),
}

/// The host of one room.
#[derive(Debug)]
pub struct World {
    pub network: Network,
    pub storage: Storage,
    pub happened: Vec<Happening>,
    /// One storage call in so many fails; 0 for none.
    pub storage_fault_one_in: u32,
    /// The room has opened the log since it woke: it goes by what it knows.
    pub log_is_open: bool,
    /// How long the run has taken.
    pub elapsed_ms: u64,
    /// When the room's timer is over.
    pub timer_ms: Option<u64>,
    /// The room slept, and its timer was lost.
    pub timer_is_lost: bool,
    turn_began: usize,
    /// The timer, and whether it was lost, before the turn.
    timer_before: (Option<u64>, bool),
    rng: Rng,
    /// From one turn to the next at most.
    tick_ms_max: u64,
    /// What the room's clock shows beside what has passed.
    clock_ms: u64,
}

impl World {
    pub fn new(rng: Rng, tick_ms_max: u64) -> Self {
        Self {
            network: Network::default(),
            storage: Storage::default(),
            happened: Vec::new(),
            storage_fault_one_in: 0,
            log_is_open: false,
            elapsed_ms: 0,
            timer_ms: None,
            timer_is_lost: false,
            turn_began: 0,
            timer_before: (None, false),
            rng,
            tick_ms_max,
            clock_ms: 1_700_000_000_000,
        }
    }

    pub fn begin_turn(&mut self, turn: Turn) {
        self.turn_began = self.happened.len();
        self.storage.begin_turn();
        self.elapsed_ms += self.rng.u64(0..self.tick_ms_max);
        self.timer_before = (self.timer_ms, self.timer_is_lost);
        if let Turn::Wake = turn {
            self.timer_ms = None;
        }
        // A farewell does nothing else.
        self.timer_is_lost &= matches!(turn, Turn::Gone(_));
        self.happened.push(Happening::Turn(turn, self.elapsed_ms));
    }

    /// The timer is set, which is real from now on.
    pub fn set_timer(&mut self, after_ms: u32) {
        self.timer_ms = Some(self.elapsed_ms + u64::from(after_ms.min(WAKE_AFTER_MS_MAX)));
    }

    /// Somebody sets the machine's clock.
    pub fn set_clock(&mut self) {
        let by_ms = match self.rng.u32(0..4) {
            0 => 3_600_000,
            1 => 60_000,
            _ => self.rng.u64(1..8_000),
        };
        if self.rng.bool() {
            self.clock_ms += by_ms;
        } else {
            self.clock_ms -= by_ms;
        }
    }

    /// Whether an object's subscription begins with the next commit.
    pub fn is_subscribing(&self, id: ConnectionId) -> bool {
        let mut happened = self.happened.iter();
        happened.any(|it| matches!(it, Happening::Subscribed(of, _) if *of == id))
    }

    /// A page of an answer, before what its end began.
    pub fn answered(&mut self, exchange: u32, page: Page) {
        let mut began = self.happened[self.turn_began..].iter();
        let index = began
            .position(|it| matches!(it, Happening::Subscribed(..)))
            .map_or(self.happened.len(), |index| self.turn_began + index);
        let page = Happening::Page(exchange, page.body, page.continuation);
        self.happened.insert(index, page);
    }

    /// The turn trapped: it never happened.
    pub fn undo_turn(&mut self) {
        self.happened.truncate(self.turn_began);
        (self.timer_ms, self.timer_is_lost) = self.timer_before;
        self.storage.undo_turn();
    }

    fn storage_call(&mut self) -> Result<(), StorageError> {
        if self.storage_fault_one_in == 0 || self.rng.u32(0..self.storage_fault_one_in) != 0 {
            return Ok(());
        }
        self.happened.push(Happening::Faulted);
        Err(if self.rng.bool() {
            StorageError::Full("simulated".to_owned())
        } else {
            StorageError::Unavailable("simulated".to_owned())
        })
    }
}

impl EventLog for World {
    fn open(&mut self, new_backend_id: &str) -> Result<LogInfo, StorageError> {
        if self.log_is_open && self.storage_fault_one_in > 0 && self.rng.u32(0..4) == 0 {
            // Looking again is rare, and worth failing.
            self.happened.push(Happening::Faulted);
            return Err(StorageError::Unavailable("simulated".to_owned()));
        }
        self.storage_call()?;
        let (info, is_new) = self.storage.open(new_backend_id);
        self.log_is_open = true;
        self.happened.push(Happening::Learnt);
        if is_new {
            self.happened
                .push(Happening::Created(info.backend_id.clone()));
        }
        Ok(info)
    }

    fn append(
        &mut self,
        expected_head: u64,
        batch: &[Event<'_>],
        created_at: &str,
    ) -> Result<(), StorageError> {
        self.storage_call()?;
        match self.storage.append(expected_head, batch, created_at) {
            Ok(stored) => self.happened.push(Happening::Appended(stored)),
            Err(error) => {
                self.happened.push(Happening::Learnt);
                return Err(error);
            }
        }
        Ok(())
    }

    fn read(
        &mut self,
        after: u64,
        max_events: u32,
        max_bytes: u32,
    ) -> Result<Vec<StoredEvent>, StorageError> {
        self.storage_call()?;
        Ok(self.storage.read(after, max_events, max_bytes))
    }

    fn reset(&mut self, new_backend_id: &str) -> Result<(), StorageError> {
        self.storage_call()?;
        self.storage.reset(new_backend_id);
        self.happened
            .push(Happening::Reset(new_backend_id.to_owned()));
        Ok(())
    }
}

impl Connections for World {
    fn subscribe(
        &mut self,
        binding: &str,
        object: &str,
        _: Callback,
    ) -> Result<ConnectionId, SubscribeError> {
        assert_eq!(binding, BINDING);
        let id = self.network.reserve(object);
        self.happened
            .push(Happening::Subscribed(id, object.to_owned()));
        Ok(id)
    }

    fn send(&mut self, to: &[ConnectionId], frame: &str) {
        self.happened
            .push(Happening::Sent(to.to_vec(), frame.to_owned()));
    }

    fn send_each(&mut self, openings: &[Opening], rest: &str) {
        for Opening { to, head } in openings {
            self.send(to, &format!("{head}{rest}"));
        }
    }

    fn close(&mut self, connection: ConnectionId, code: u16, _reason: &str) {
        self.happened.push(Happening::Closed(connection, code));
    }

    fn attach(&mut self, connection: ConnectionId, attachment: &str) -> Result<(), AttachError> {
        if attachment.len() > ATTACHMENT_BYTES_MAX as usize {
            return Err(AttachError::TooLarge(
                u32::try_from(attachment.len()).unwrap(),
            ));
        }
        match self.network.sockets.get(&connection) {
            Some(socket) if !socket.closed => {}
            None if self.network.is_subscriber(connection) => {}
            _ => return Err(AttachError::Gone),
        }
        self.happened
            .push(Happening::Attached(connection, attachment.to_owned()));
        Ok(())
    }

    fn attached(&mut self) -> Vec<(ConnectionId, String)> {
        // Rooms start with nothing staged: see the runner.
        let sockets = self.network.sockets.iter();
        let sockets = sockets
            .filter(|(_, socket)| !socket.closed)
            .filter_map(|(&id, socket)| Some((id, socket.attachment.clone()?)));
        let subscribers = self.network.subscribers.iter();
        let subscribers = subscribers.filter_map(|(&id, it)| Some((id, it.attachment.clone()?)));
        sockets.chain(subscribers).collect()
    }

    fn notify_drained(&mut self, connection: ConnectionId) {
        self.happened.push(Happening::DrainAsked(connection));
    }
}

impl Timer for World {
    fn wake_after(&mut self, ms: u32) {
        self.happened.push(Happening::TimerSet(ms));
    }
}

/// No room has anything to do with quotas.
impl Quotas for World {
    fn take(&mut self, _: &str, _: &str, _: u64, _: u64, _: u64) -> Result<(), QuotaDenied> {
        unreachable!()
    }

    fn add(&mut self, _: &str, _: &str, _: u64, _: u64) -> Result<(), QuotaDenied> {
        unreachable!()
    }

    fn hold(&mut self, _: &str, _: &str, _: u32, _: u64) -> Result<u64, QuotaDenied> {
        unreachable!()
    }

    fn let_go(&mut self, _: &str, _: &str, _: u64) -> Result<(), QuotaDenied> {
        unreachable!()
    }
}

impl Claims for World {
    fn current_version(&mut self, _user_id: &str) -> Result<Option<u64>, String> {
        panic!("a room asks for no claims")
    }
}

impl Telemetry for World {}

impl Diagnostics for World {
    fn log(&mut self, _level: Level, _message: &str) {}
}

impl System for World {
    fn now(&mut self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.clock_ms + self.elapsed_ms)
    }

    fn random(&mut self, bytes: &mut [u8]) {
        self.rng.fill(bytes);
    }

    fn env(&mut self, name: &str) -> Option<String> {
        match name {
            "ENVIRONMENT" => Some("development".to_owned()),
            "DO_RPC_CLIENTS" => Some(BINDING.to_owned()),
            "ADMIN_SECRET" => Some(ADMIN_SECRET.to_owned()),
            _ => None,
        }
    }
}
