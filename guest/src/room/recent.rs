//! The end of the log, encoded as clients that pull get it: subscribers that are a
//! little behind are served from here, without storage.

use std::collections::VecDeque;

use crate::imports::Event;
use crate::limits::{RECENT_BYTES_MAX, RECENT_OVERHEAD_BYTES};
use crate::protocol::chunk::{Chunk, Packer, Packing};
use crate::protocol::event::{ItemForm, write_item};

/// The last events that this room has appended, without a gap up to the head.
#[derive(Debug, Default)]
pub struct Recent {
    items: VecDeque<Item>,
    bytes: usize,
    /// The sequence number before the first of them.
    after: u64,
}

#[derive(Debug)]
struct Item {
    seq_num: u64,
    /// In [`ItemForm::Tagged`].
    text: String,
    /// In [`ItemForm::Complete`], where that is another.
    complete: Option<String>,
}

impl Item {
    fn bytes(&self) -> usize {
        self.text.len() + self.complete.as_ref().map_or(0, String::len) + RECENT_OVERHEAD_BYTES
    }
}

impl Recent {
    /// Takes in a batch that was appended to the head `before`.
    pub fn append(&mut self, before: u64, batch: &[Event<'_>], created_at: &str) {
        if self.items.back().map(|item| item.seq_num) != Some(before) {
            self.forget();
            self.after = before;
        }
        for event in batch {
            let written = |form| {
                let mut text = String::new();
                write_item(&mut text, form, event, created_at);
                text
            };
            let has_args = event.args.is_some();
            let item = Item {
                seq_num: event.seq_num,
                text: written(ItemForm::Tagged),
                complete: (!has_args).then(|| written(ItemForm::Complete)),
            };
            self.bytes += item.bytes();
            self.items.push_back(item);
            while self.bytes > RECENT_BYTES_MAX
                && let Some(oldest) = self.items.pop_front()
            {
                self.bytes -= oldest.bytes();
                self.after = oldest.seq_num;
            }
        }
    }

    /// Forgets it all: the log is not what this room believed.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    /// What follows `after`, if it is all here, in at most `chunks_max`
    /// Chunks. There is nothing in [`ItemForm::Bare`].
    #[must_use]
    pub fn chunks(
        &self,
        after: u64,
        (form, packing): (ItemForm, Packing),
        chunks_max: usize,
    ) -> Option<Vec<Chunk>> {
        if form == ItemForm::Bare {
            return None;
        }
        if after < self.after || self.items.back().is_none_or(|item| after >= item.seq_num) {
            return None;
        }
        let first = self.items.partition_point(|item| item.seq_num <= after);
        let mut packer = Packer::new(packing, after, chunks_max);
        for item in self.items.range(first..) {
            let complete = item
                .complete
                .as_ref()
                .filter(|_| form == ItemForm::Complete);
            if !packer.add(complete.unwrap_or(&item.text), item.seq_num) {
                break;
            }
        }
        Some(packer.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::chunk::tests::event;

    fn shape(recent: &Recent, after: u64) -> Option<Vec<(u64, u64)>> {
        let chunks = recent.chunks(after, (ItemForm::Tagged, Packing::Pages), usize::MAX)?;
        Some(chunks.iter().map(|it| (it.after, it.last)).collect())
    }

    #[test]
    fn i3_what_is_kept_has_no_gap() {
        let mut recent = Recent::default();
        recent.append(5, &[event(6, "1"), event(7, "2")], "t");
        recent.append(7, &[event(8, "3")], "t");
        assert_eq!(shape(&recent, 4), None);
        assert_eq!(shape(&recent, 5), Some(vec![(5, 8)]));
        assert_eq!(shape(&recent, 7), Some(vec![(7, 8)]));
        assert_eq!(shape(&recent, 8), None);
        // Another writer was here meanwhile.
        recent.append(20, &[event(21, "4")], "t");
        assert_eq!(shape(&recent, 7), None);
        assert_eq!(shape(&recent, 20), Some(vec![(20, 21)]));
    }

    #[test]
    fn i7_it_is_bounded() {
        let mut recent = Recent::default();
        let args = format!("\"{}\"", "x".repeat(10_000));
        for n in 1..=100 {
            recent.append(n - 1, &[event(n, &args)], "t");
            assert!(recent.bytes <= RECENT_BYTES_MAX);
        }
        assert_eq!(shape(&recent, 0), None);
        assert_eq!(shape(&recent, 90), Some(vec![(90, 100)]));
        let large = format!("\"{}\"", "x".repeat(RECENT_BYTES_MAX));
        recent.append(100, &[event(101, &large)], "t");
        assert_eq!((recent.items.len(), recent.bytes), (0, 0));
        assert_eq!(shape(&recent, 100), None);
    }
}
