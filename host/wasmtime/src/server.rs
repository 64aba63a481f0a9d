//! The server's beginning and end.

use std::sync::Arc;
use std::time::Duration;

use tracing::info;

use crate::app::App;
use crate::net::listen::Listeners;
use crate::net::listener;

/// How long answers under way may take once the server stops, beside what
/// sockets may.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

impl App {
    /// Serves until `stop` returns; then finishes the turns that wait, closes
    /// the sockets with 1012 and the storage.
    pub async fn serve(
        self: Arc<Self>,
        listeners: Listeners,
        stop: impl Future<Output = ()> + Send + 'static,
    ) {
        let stopping = self.stopping().clone();
        tokio::spawn(async move {
            stop.await;
            stopping.cancel();
        });
        let serving = async {
            listener::serve(&self, listeners).await;
            // However it ended, the rest has to end in good order.
            self.stopping().cancel();
        };
        let stopped = async {
            self.stopping().cancelled().await;
            info!(
                event = "stopping",
                "stopping: turns are finished, then sockets closed"
            );
            self.shards().stop().await;
        };
        let deadline = async {
            self.stopping().cancelled().await;
            tokio::time::sleep(STOP_TIMEOUT).await;
        };
        tokio::select! {
            () = self.watch().keep() => {}
            () = self.refusals().keep() => {}
            // Answers under way end with the listener, beside the rooms.
            ((), ()) = async { tokio::join!(serving, stopped) } => {}
            () = deadline => {
                info!(event = "answers_timeout", "some answers were not taken in time");
            }
        }
        self.refusals().write_rest();
    }
}
