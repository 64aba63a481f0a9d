//! What the runs have come upon. A check that nothing leads to proves
//! nothing: the test demands that all of these were seen.

use std::cell::RefCell;
use std::collections::BTreeMap;

thread_local! {
    static SEEN: RefCell<BTreeMap<&'static str, u64>> = const { RefCell::new(BTreeMap::new()) };
}

/// All that has to be seen.
pub const WANTED: [&str; 52] = [
    "a push was accepted",
    "a push was refused: ServerAheadError",
    "a push was refused: BackendIdMismatchError",
    "a push was refused: storage",
    "a live Chunk",
    "a live pull fell back",
    "a live pull turned live after falling back",
    "a Chunk past the head that catching up began at",
    "a Chunk larger than the limit, alone",
    "a Chunk with the window half full",
    "the first Ack of a pull that was unheard when the room slept",
    "an Ack to a room that remembers nothing in flight",
    "a pull that was not live ended",
    "a live pull ended by a reset",
    "a pull was interrupted",
    "a socket closed for a storage fault",
    "a socket closed for a pull too many",
    "a 0.3 push was shown before the first pull",
    "a 0.3 socket closed because its catching up failed",
    "a 0.3 push was repeated and acknowledged",
    "a 0.3 push was refused from behind",
    "a 0.3 answer of several turns",
    "an HTTP pull of several turns",
    "an HTTP pull ended by a reset",
    "a pull from beyond the head",
    "a push from beyond the head",
    "a look beyond the head that failed",
    "a log that begins with a jump",
    "a subscriber was called",
    "a subscriber was called after the room slept",
    "a subscriber was let go because its calls failed",
    "a subscriber was let go because the room failed",
    "a turn trapped",
    "a commit failed",
    "a commit of several turns",
    "a room slept",
    "another writer was noticed",
    "a reset",
    "a client that edits was not told at once",
    "a client that edits was told when the timer was over",
    "a client that edits was told when its push landed",
    "a client that edits was told in another's turn",
    "a client that edits was told after the room had slept",
    "a client that edits was told, and its window was full",
    "a pull that waited was started again",
    "a pull that waited was interrupted",
    "a pull that waited was ended by a reset",
    "a client pulled after it had pushed",
    "a client in doubt pulled",
    "a socket that never pulled was closed",
    "a timer was lost",
    "the clock was set",
];

/// It was seen.
pub fn seen(what: &'static str) {
    assert!(WANTED.contains(&what), "{what} is not on the list");
    SEEN.with_borrow_mut(|seen| *seen.entry(what).or_default() += 1);
}

/// How often each was, on this thread.
pub fn counts() -> Vec<(&'static str, u64)> {
    SEEN.with_borrow(|seen| {
        WANTED
            .iter()
            .map(|what| (*what, seen.get(what).copied().unwrap_or(0)))
            .collect()
    })
}
