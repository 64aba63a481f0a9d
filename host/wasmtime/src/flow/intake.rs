//! The memory that messages may take from their first byte to the end of
//! their turn. Whoever has to wait for it is not read meanwhile, so that the
//! client's TCP window fills instead.
//!
//! A message reserves what it will be before it is read, once, in the order
//! in which they came: nobody holds something while he waits for more, so
//! those that hold something can go on, and end. There are three classes, so
//! that large messages keep nobody waiting but one another, and a store may
//! hold a part of each: nobody can hold most of what all share. Who waits too
//! long is told to come back later.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};

use crate::process::patience::{self, Moment};

/// What is read of a message before it counts, in bytes: what a socket's read
/// buffer holds anyway.
pub const FREE_BYTES: usize = 2 * 1024;

/// What one permit stands for, in bytes.
const UNIT_BYTES: usize = 1024;

/// What a message takes beside its bytes.
const OVERHEAD_BYTES: usize = 512;

/// The largest small message, in bytes: nearly every message of real clients.
const SMALL_BYTES_MAX: usize = 64 * 1024;

/// The largest medium message, in bytes. Real clients' largest pushes have
/// 900,000 bytes, or one event of 2,000,000.
const MEDIUM_BYTES_MAX: usize = 4 * 1024 * 1024;

/// HTTP requests that a store may have under way: a quarter of those that the
/// server has places for.
const REQUESTS_MAX: usize = 250;

/// How long a message may wait before it is read: others' messages have to
/// arrive within so long.
pub const WAIT_MAX: Duration = Duration::from_secs(30);

/// From when on input counts as starved: nobody is let in for so long though
/// somebody waits, and the time that messages may take is over.
const STARVED_AFTER: Duration = Duration::from_secs(45);

/// Of each class: its part of the whole, and a store's part of it, as
/// numerators and denominators.
const PARTS: [[usize; 4]; 3] = [[1, 4, 1, 2], [3, 8, 1, 2], [3, 8, 1, 3]];

/// A kind of message: small, medium or large.
struct Class {
    server: Arc<Semaphore>,
    /// What all of it is.
    units: usize,
    store_units: usize,
    waiting: Mutex<Waiting>,
    /// Whether somebody has waited, and nobody was let in since: most are let
    /// in at once, and look no further.
    is_waited_for: AtomicBool,
}

/// What all messages of one kind of input share.
pub struct Intake {
    classes: [Class; 3],
    /// The stores that have clients now.
    stores: Mutex<HashMap<Box<str>, Weak<Share>>>,
}

/// Those that wait for what all share.
#[derive(Default)]
struct Waiting {
    count: usize,
    /// When the first of them began to wait, or one was let in since. Whoever
    /// gives up was not let in.
    since: Option<Moment>,
    /// What the last of them wants, in units.
    wanted: usize,
}

/// One store's share.
pub struct Share {
    intake: Arc<Intake>,
    classes: [Arc<Semaphore>; 3],
    requests: Arc<Semaphore>,
    store: Box<str>,
}

/// Memory that is reserved, until it is dropped.
pub struct Reservation {
    store: OwnedSemaphorePermit,
    server: OwnedSemaphorePermit,
}

impl Reservation {
    /// Gives back what is beyond a message of `bytes`.
    pub fn shrink(&mut self, bytes: usize) {
        let units = units(bytes);
        for permit in [&mut self.store, &mut self.server] {
            let excess = permit.num_permits().saturating_sub(units);
            drop(permit.split(excess));
        }
    }
}

impl Intake {
    /// An intake of so many bytes.
    #[must_use]
    pub fn new(bytes_max: usize) -> Arc<Self> {
        let class = |[part, of, store_part, store_of]: [usize; 4]| {
            let units = (bytes_max / UNIT_BYTES).saturating_mul(part) / of;
            Class {
                server: Arc::new(Semaphore::new(units)),
                units,
                store_units: (units.saturating_mul(store_part) / store_of).max(1),
                waiting: Mutex::default(),
                is_waited_for: AtomicBool::new(false),
            }
        };
        Arc::new(Self {
            classes: PARTS.map(class),
            stores: Mutex::default(),
        })
    }

    /// A store's share, which all its clients have together.
    #[must_use]
    pub fn of_store(self: &Arc<Self>, store: &str) -> Arc<Share> {
        let mut stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(share) = stores.get(store).and_then(Weak::upgrade) {
            return share;
        }
        let semaphore = |class: &Class| Arc::new(Semaphore::new(class.store_units));
        let [small, medium, large] = &self.classes;
        let share = Arc::new(Share {
            intake: Arc::clone(self),
            classes: [semaphore(small), semaphore(medium), semaphore(large)],
            requests: Arc::new(Semaphore::new(REQUESTS_MAX)),
            store: store.into(),
        });
        stores.insert(store.into(), Arc::downgrade(&share));
        share
    }

    /// What is reserved, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let used = |class: &Class| class.units.saturating_sub(class.server.available_permits());
        self.classes.iter().map(used).sum::<usize>() * UNIT_BYTES
    }

    /// What may be reserved, in bytes.
    #[must_use]
    pub fn bytes_max(&self) -> usize {
        self.classes.iter().map(|class| class.units).sum::<usize>() * UNIT_BYTES
    }

    /// Whether somebody waits, or would, and nobody was let in for long.
    #[must_use]
    pub fn is_starved(&self) -> bool {
        self.is_starved_for(STARVED_AFTER)
    }

    fn is_starved_for(&self, time: Duration) -> bool {
        self.classes.iter().any(|class| class.is_starved_for(time))
    }
}

impl Class {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_starved_for(&self, time: Duration) -> bool {
        let mut waiting = self.waiting();
        // When all have given up, it is over once there is space for them.
        if waiting.count == 0 && self.server.available_permits() >= waiting.wanted {
            waiting.since = None;
        }
        waiting.since.is_some_and(|since| since.elapsed() > time)
    }

    /// Somebody begins to wait for so many units.
    fn wait(&self, units: u32) -> Wait<'_> {
        let mut waiting = self.waiting();
        waiting.count += 1;
        waiting.wanted = usize::try_from(units).unwrap_or(usize::MAX);
        waiting.since.get_or_insert_with(Moment::now);
        self.is_waited_for.store(true, Ordering::Relaxed);
        Wait(self)
    }

    /// Somebody was let in.
    fn let_in(&self) {
        if self.is_waited_for.load(Ordering::Relaxed) {
            let mut waiting = self.waiting();
            waiting.since = (waiting.count > 0).then(Moment::now);
            self.is_waited_for
                .store(waiting.count > 0, Ordering::Relaxed);
        }
    }
}

/// Somebody waits.
struct Wait<'a>(&'a Class);

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        let mut waiting = self.0.waiting();
        waiting.count = waiting.count.saturating_sub(1);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut stores = self
            .intake
            .stores
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // Another may have taken its place meanwhile.
        if stores
            .get(&self.store)
            .is_some_and(|share| share.strong_count() == 0)
        {
            stores.remove(&self.store);
        }
    }
}

impl Share {
    fn class(&self, bytes: usize) -> (&Arc<Semaphore>, &Class) {
        let [small, medium, large] = &self.classes;
        let [all_small, all_medium, all_large] = &self.intake.classes;
        if bytes <= SMALL_BYTES_MAX {
            (small, all_small)
        } else if bytes <= MEDIUM_BYTES_MAX {
            (medium, all_medium)
        } else {
            (large, all_large)
        }
    }

    /// A place among the requests that the store has under way, if there is
    /// one.
    #[must_use]
    pub fn begin_request(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.requests).try_acquire_owned().ok()
    }

    /// Reserves memory for a message of so many bytes, if it is there.
    #[must_use]
    pub fn try_reserve(&self, bytes: usize) -> Option<Reservation> {
        let (store, class) = self.class(bytes);
        let units = permits(bytes, class);
        let acquire = |semaphore: &Arc<Semaphore>| -> Result<_, TryAcquireError> {
            Arc::clone(semaphore).try_acquire_many_owned(units)
        };
        let store = acquire(store).ok()?;
        let server = acquire(&class.server).ok()?;
        class.let_in();
        Some(Reservation { store, server })
    }

    /// Reserves memory for a message of so many bytes; `None` when it has
    /// waited for [`WAIT_MAX`].
    pub async fn reserve(self: Arc<Self>, bytes: usize) -> Option<Reservation> {
        if let Some(reservation) = self.try_reserve(bytes) {
            return Some(reservation);
        }
        let (store, class) = self.class(bytes);
        let units = permits(bytes, class);
        // They fail only when the semaphore is closed, which nobody does.
        let reserve = async {
            let store = Arc::clone(store).acquire_many_owned(units).await.ok()?;
            let wait = class.wait(units);
            let server = Arc::clone(&class.server)
                .acquire_many_owned(units)
                .await
                .ok()?;
            drop(wait);
            class.let_in();
            Some(Reservation { store, server })
        };
        patience::timeout(WAIT_MAX, reserve).await.flatten()
    }
}

fn units(bytes: usize) -> usize {
    bytes.saturating_add(OVERHEAD_BYTES).div_ceil(UNIT_BYTES)
}

/// Never more than a store may have: it could wait for ever.
fn permits(bytes: usize, class: &Class) -> u32 {
    u32::try_from(units(bytes).min(class.store_units)).unwrap_or(u32::MAX)
}

/// Messages of one connection that may wait for their turn: enough to share a
/// commit, and few, since a neighbour's turn comes between.
const MESSAGES_MAX: usize = 256;

/// What one connection may have waiting.
pub struct InFlight(Arc<Semaphore>);

impl Default for InFlight {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MESSAGES_MAX)))
    }
}

impl InFlight {
    /// Waits for a place: the turns of those before end.
    pub async fn take(&self) -> Option<OwnedSemaphorePermit> {
        // It fails only when the semaphore is closed, which nobody does.
        Arc::clone(&self.0).acquire_owned().await.ok()
    }
}

/// What a message holds until its turn is over.
pub struct Permits {
    _place: Option<OwnedSemaphorePermit>,
    _reservation: Option<Reservation>,
}

impl Permits {
    /// Of a message that has this place and this memory.
    #[must_use]
    pub fn new(place: Option<OwnedSemaphorePermit>, reservation: Option<Reservation>) -> Self {
        Self {
            _place: place,
            _reservation: reservation,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use futures_util::FutureExt;
    use tokio::task::yield_now;

    use super::*;

    const MIB: usize = 1024 * 1024;

    fn all(intake: &Intake) -> Vec<usize> {
        let classes = intake.classes.iter();
        classes
            .map(|class| class.server.available_permits())
            .collect()
    }

    #[tokio::test]
    async fn i7_no_store_holds_most_of_what_all_share() {
        let intake = Intake::new(256 * MIB);
        let hog = intake.of_store("hog");
        let mut held = Vec::new();
        for bytes in [1_000, 60_000, 900_000, 4 * MIB, 32 * MIB] {
            held.extend(std::iter::from_fn(|| hog.try_reserve(bytes)));
        }
        // However many connections it has.
        assert!(Arc::ptr_eq(&hog, &intake.of_store("hog")));
        let other = intake.of_store("other");
        let sizes = [1_000, 60_000, 900_000, 4 * MIB, 32 * MIB];
        assert!(
            sizes
                .iter()
                .all(|&bytes| other.try_reserve(bytes).is_some())
        );
        drop(held);
        assert_eq!(all(&intake), all(&Intake::new(256 * MIB)));
    }

    #[tokio::test]
    async fn i7_large_messages_keep_only_one_another_waiting() {
        let intake = Intake::new(256 * MIB);
        let stores: Vec<_> = (0..20).map(|n| intake.of_store(&n.to_string())).collect();
        let large: Vec<_> = stores
            .iter()
            .filter_map(|store| store.try_reserve(32 * MIB - 1))
            .collect();
        assert_eq!(large.len(), 3, "of 96 MiB");
        assert!(
            stores
                .iter()
                .all(|store| store.try_reserve(900_000).is_some())
        );
    }

    #[tokio::test]
    async fn who_comes_first_is_served_first_and_nobody_waits_for_a_part() {
        let intake = Intake::new(8 * MIB);
        let store = intake.of_store("s");
        // Of the 1.5 MiB that a store may have of this class.
        let first = store.try_reserve(900_000).unwrap();
        let wait = |bytes| tokio::spawn(Arc::clone(&store).reserve(bytes));
        let second = wait(1_000_000);
        yield_now().await;
        // It would fit beside the first, but not before the second.
        let third = wait(100_000);
        yield_now().await;
        assert!(!second.is_finished() && !third.is_finished());
        drop(first);
        let (second, third) = (second.await.unwrap(), third.await.unwrap());
        assert!(second.is_some() && third.is_some());
    }

    #[tokio::test]
    async fn a_message_larger_than_a_share_passes_alone() {
        let intake = Intake::new(MIB);
        let store = intake.of_store("s");
        let whole = store.try_reserve(32 * MIB).unwrap();
        assert!(store.try_reserve(5 * MIB).is_none());
        drop(whole);
        assert!(store.try_reserve(5 * MIB).is_some());
    }

    #[tokio::test]
    async fn what_turned_out_smaller_gives_the_rest_back() {
        let intake = Intake::new(256 * MIB);
        let store = intake.of_store("s");
        let mut whole = store.try_reserve(32 * MIB).unwrap();
        assert!(store.try_reserve(32 * MIB).is_none());
        whole.shrink(10_000);
        assert!(store.try_reserve(31 * MIB).is_some());
        drop(whole);
        assert_eq!(all(&intake), all(&Intake::new(256 * MIB)));
    }

    #[tokio::test]
    async fn stores_without_clients_leave_nothing() {
        let intake = Intake::new(MIB);
        let shares: Vec<_> = (0..100).map(|n| intake.of_store(&n.to_string())).collect();
        let held = shares
            .iter()
            .filter_map(|share| share.try_reserve(1))
            .count();
        assert_eq!(held, 100);
        drop(shares);
        assert!(intake.stores.lock().unwrap().is_empty());
        // Who waits and goes is not waited for.
        let store = intake.of_store("s");
        let _all: Vec<_> = std::iter::from_fn(|| store.try_reserve(1)).collect();
        assert!(Arc::clone(&store).reserve(1).now_or_never().is_none());
        assert!(intake.classes.iter().all(|it| it.waiting().count == 0));
    }

    #[tokio::test]
    async fn i7_who_gives_up_was_not_let_in_and_input_is_starved() {
        const NO_TIME: Duration = Duration::ZERO;
        let intake = Intake::new(MIB);
        let stores: Vec<_> = (0..4).map(|n| intake.of_store(&n.to_string())).collect();
        let take = || -> Vec<_> {
            let all = stores
                .iter()
                .flat_map(|store| std::iter::from_fn(|| store.try_reserve(FREE_BYTES)));
            all.collect()
        };
        let held = take();
        let waiter = Arc::clone(&intake.of_store("waiter"));
        let wait = || Arc::clone(&waiter).reserve(FREE_BYTES).now_or_never();
        assert!(wait().is_none());
        // More than the clock's smallest part.
        tokio::time::sleep(Duration::from_millis(5)).await;
        let later = Moment::now();
        // Others wait, and give up as all who wait too long do.
        assert!(wait().is_none());
        assert!(intake.is_starved_for(later.elapsed()));
        drop(held);
        assert!(!intake.is_starved_for(NO_TIME), "there is space again");
        let _held = take();
        assert!(wait().is_none());
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert!(intake.is_starved_for(NO_TIME));
        // Of another class nobody has waited.
        assert!(waiter.try_reserve(SMALL_BYTES_MAX + 1).is_some());
        assert!(intake.is_starved_for(NO_TIME));
    }

    #[tokio::test]
    async fn input_that_somebody_gets_is_not_starved() {
        let intake = Intake::new(MIB);
        let store = intake.of_store("s");
        let other = intake.of_store("other");
        let (first, second) = (store.try_reserve(60_000), other.try_reserve(60_000));
        assert!(first.is_some() && second.is_some());
        let mut more = Vec::new();
        more.extend(std::iter::from_fn(|| other.try_reserve(FREE_BYTES)));
        more.extend(std::iter::from_fn(|| store.try_reserve(FREE_BYTES)));
        let waiter = intake.of_store("waiter");
        let large = tokio::spawn(Arc::clone(&waiter).reserve(60_000));
        yield_now().await;
        assert!(intake.classes.iter().any(|it| it.waiting().count == 1));
        tokio::time::sleep(Duration::from_millis(5)).await;
        let later = Moment::now();
        drop((first, second, more));
        assert!(large.await.unwrap().is_some());
        assert!(!intake.is_starved_for(later.elapsed()));
        assert!(intake.classes.iter().all(|it| it.waiting().since.is_none()));
    }
}
