//! Which shard has a store, and which file has a shard: what must stay as it
//! is, or stores are looked for where they are not.

use std::path::{Path, PathBuf};

/// Shards, and files in a data directory.
pub const SHARDS: usize = 4;

/// A shard's file.
#[must_use]
pub fn file(dir: &Path, shard: usize) -> PathBuf {
    dir.join(format!("shard-{shard}.db"))
}

/// The shard of a store: FNV-1a, since the layout on disk must not change
/// with a library's hash.
#[must_use]
pub fn shard_of(store: &str) -> usize {
    let hash = store.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    // The remainder is smaller than SHARDS.
    usize::try_from(hash % SHARDS as u64).unwrap_or(0)
}

/// The layout of a shard's files, `user_version` in SQLite. A server refuses
/// what a later one has written: it might not see half of it.
pub const LAYOUT: i64 = 1;
