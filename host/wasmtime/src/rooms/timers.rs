//! The rooms' timers, one each (`wit/timer.wit`).

use std::collections::HashMap;
use std::future::{pending, poll_fn};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::time::DelayQueue;
use tokio_util::time::delay_queue::Key;

/// The timers of a shard's rooms that are set.
#[derive(Default)]
pub struct Timers {
    queue: DelayQueue<Arc<str>>,
    keys: HashMap<Arc<str>, Key>,
}

impl Timers {
    /// Sets a room's timer, instead of what it was set to.
    pub fn set(&mut self, store: &Arc<str>, after: Duration) {
        if let Some(key) = self.keys.get(store) {
            self.queue.reset(key, after);
        } else {
            let key = self.queue.insert(Arc::clone(store), after);
            self.keys.insert(Arc::clone(store), key);
        }
    }

    /// The next room whose time is over. It may be given up and asked again.
    pub async fn over(&mut self) -> Arc<str> {
        let Some(expired) = poll_fn(|context| self.queue.poll_expired(context)).await else {
            // None is set.
            return pending().await;
        };
        let store = expired.into_inner();
        self.keys.remove(&store);
        store
    }
}
