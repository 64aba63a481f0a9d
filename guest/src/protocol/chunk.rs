//! Packing events into Chunks: at most 900,000 bytes each, and 100 events but
//! for those that are joined (`limits.rs`); a larger event travels alone.

use super::event::{ItemForm, write_item};
use crate::imports::Event;
use crate::limits::{CHUNK_BYTES_MAX, CHUNK_ENVELOPE_BYTES, CHUNK_EVENTS_MAX, JOINED_EVENTS_MAX};

/// How many events a Chunk has at most; its bytes limit it, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// As many as an answer to a pull has.
    Pages,
    /// Of a client that was not told of them for a while: as few Chunks as can
    /// be.
    Joined,
    /// A push in one frame, as 0.3 clients are shown it (transcript
    /// v031-ws-03).
    Whole,
}

/// The events of one Chunk, encoded once however many clients get it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// The items, comma-separated: the inside of the JSON array.
    pub items: String,
    /// The sequence number before the first event: a subscriber at it misses
    /// nothing.
    pub after: u64,
    /// The last event's sequence number.
    pub last: u64,
}

/// Packs `events` into Chunks, in order. `after` is the sequence number
/// before the first. Stops after `chunks_max` Chunks.
pub fn pack<'a>(
    events: impl IntoIterator<Item = (Event<'a>, &'a str)>,
    (form, packing): (ItemForm, Packing),
    after: u64,
    chunks_max: usize,
) -> Vec<Chunk> {
    let mut packer = Packer::new(packing, after, chunks_max);
    let mut item = String::new();
    for (event, created_at) in events {
        item.clear();
        write_item(&mut item, form, &event, created_at);
        if !packer.add(&item, event.seq_num) {
            break;
        }
    }
    packer.finish()
}

/// Packs items that are encoded.
#[derive(Debug)]
pub struct Packer {
    events_max: usize,
    chunks_max: usize,
    chunks: Vec<Chunk>,
    items: String,
    count: usize,
    after: u64,
    last: u64,
}

impl Packer {
    /// One that has nothing yet; `after` and `chunks_max` as in [`pack`].
    #[must_use]
    pub fn new(packing: Packing, after: u64, chunks_max: usize) -> Self {
        Self {
            events_max: match packing {
                Packing::Whole => usize::MAX,
                Packing::Pages => CHUNK_EVENTS_MAX,
                Packing::Joined => JOINED_EVENTS_MAX,
            },
            chunks_max,
            chunks: Vec::new(),
            items: String::new(),
            count: 0,
            after,
            last: after,
        }
    }

    /// Adds the next item; `false` if there are enough Chunks without it.
    pub fn add(&mut self, item: &str, seq_num: u64) -> bool {
        const BYTES_MAX: usize = CHUNK_BYTES_MAX - CHUNK_ENVELOPE_BYTES;
        let is_full =
            self.count == self.events_max || self.items.len() + 1 + item.len() > BYTES_MAX;
        if self.count > 0 && is_full {
            self.end_chunk();
            if self.chunks.len() == self.chunks_max {
                return false;
            }
        }
        if self.count > 0 {
            self.items.push(',');
        }
        self.items.push_str(item);
        self.count += 1;
        self.last = seq_num;
        true
    }

    fn end_chunk(&mut self) {
        self.chunks.push(Chunk {
            items: std::mem::take(&mut self.items),
            after: self.after,
            last: self.last,
        });
        self.after = self.last;
        self.count = 0;
    }

    /// The Chunks.
    #[must_use]
    pub fn finish(mut self) -> Vec<Chunk> {
        if self.count > 0 {
            self.end_chunk();
        }
        self.chunks
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// An event with these arguments.
    pub(crate) fn event(seq_num: u64, args: &str) -> Event<'_> {
        Event {
            seq_num,
            parent_seq_num: seq_num - 1,
            name: "n",
            args: Some(args),
            client_id: "c",
            session_id: "s",
        }
    }

    fn shape(sizes: &[usize]) -> Vec<(u64, u64)> {
        let args: Vec<String> = sizes
            .iter()
            .map(|&n| format!("\"{}\"", "x".repeat(n)))
            .collect();
        let events = args
            .iter()
            .zip(1..)
            .map(|(args, seq)| (event(seq, args), "t"));
        pack(events, (ItemForm::Tagged, Packing::Pages), 0, usize::MAX)
            .iter()
            .map(|chunk| {
                assert!(
                    chunk.items.len() <= CHUNK_BYTES_MAX - CHUNK_ENVELOPE_BYTES
                        || chunk.last == chunk.after + 1
                );
                (chunk.after, chunk.last)
            })
            .collect()
    }

    #[test]
    fn at_most_100_events_a_chunk() {
        assert_eq!(shape(&[1; 250]), [(0, 100), (100, 200), (200, 250)]);
        assert_eq!(shape(&[1; 100]), [(0, 100)]);
        assert_eq!(shape(&[]), []);
    }

    #[test]
    fn a_large_event_travels_alone() {
        assert_eq!(shape(&[10, 950_000, 10, 10]), [(0, 1), (1, 2), (2, 4)]);
        assert_eq!(shape(&[450_000, 450_000, 10]), [(0, 1), (1, 3)]);
    }
}
