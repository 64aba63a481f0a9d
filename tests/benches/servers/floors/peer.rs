//! The other process: this executable again, as a server that does nothing
//! but pass messages. It is one thread, as the generator is.

use std::cell::RefCell;
use std::path::Path;
use std::process::Command;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::ValueEnum;
use futures_util::{SinkExt, StreamExt};
use syncline_tests::process::Process;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::LocalSet;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, accept_async_with_config, client_async_with_config};

use super::commit::Log;

const READY_TIMEOUT: Duration = Duration::from_secs(10);

/// A thousand sockets are to cost as little here as they may.
const READ_BUFFER_BYTES: usize = 4 * 1024;

/// A connection to it, or of it.
pub type Socket = WebSocketStream<TcpStream>;

/// What it does with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Peer {
    /// Sends it back.
    Echo,
    /// Commits a row, then sends it back.
    CommitAndEcho,
    /// Sends it to everyone.
    Broadcast,
}

/// The process, stopped when dropped.
pub struct Running {
    address: String,
    // Dropped in this order: the process before what it writes to.
    _process: Process,
    _dir: TempDir,
}

impl Running {
    /// Starts it.
    ///
    /// # Errors
    /// When it does not get ready.
    pub fn start(peer: Peer) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let name = peer.to_possible_value().context("every peer has a name")?;
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(["--peer", name.get_name()])
            .current_dir(dir.path());
        let mut process = Process::start(command)?;
        let address = process.wait_for(READY_TIMEOUT, |line| {
            Some(line.strip_prefix("passes messages on ")?.to_owned())
        })?;
        Ok(Self {
            address,
            _process: process,
            _dir: dir,
        })
    }

    /// Connects to it.
    ///
    /// # Errors
    /// When it does not take the connection.
    pub async fn connect(&self) -> Result<Socket> {
        let tcp = TcpStream::connect(&self.address).await?;
        tcp.set_nodelay(true)?;
        let url = format!("ws://{}/", self.address);
        let (socket, _) = client_async_with_config(url, tcp, Some(config())).await?;
        Ok(socket)
    }
}

impl Peer {
    /// Serves, without end: what the other process does.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn serve(self) -> Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("passes messages on {}", listener.local_addr()?);
        let everyone = Everyone::default();
        LocalSet::new()
            .run_until(async {
                loop {
                    let (tcp, _) = listener.accept().await?;
                    let everyone = Rc::clone(&everyone);
                    // One that fails is gone, and the bench notices.
                    tokio::task::spawn_local(async move { self.serve_one(tcp, &everyone).await });
                }
            })
            .await
    }

    async fn serve_one(self, tcp: TcpStream, everyone: &Everyone) -> Result<()> {
        tcp.set_nodelay(true)?;
        let mut socket = accept_async_with_config(tcp, Some(config())).await?;
        match self {
            Self::Echo => {
                while let Some(Ok(Message::Text(text))) = socket.next().await {
                    socket.send(Message::Text(text)).await?;
                }
            }
            Self::CommitAndEcho => {
                let mut log = Log::create(Path::new("."))?;
                while let Some(Ok(Message::Text(text))) = socket.next().await {
                    log.append()?;
                    socket.send(Message::Text(text)).await?;
                }
            }
            Self::Broadcast => {
                let (own, outgoing) = unbounded_channel();
                everyone.borrow_mut().push(own);
                let (sink, mut stream) = socket.split();
                tokio::task::spawn_local(send_all(outgoing, sink));
                while let Some(Ok(Message::Text(text))) = stream.next().await {
                    for one in everyone.borrow().iter() {
                        // One that is gone gets nothing.
                        let _ = one.send(text.clone());
                    }
                }
            }
        }
        Ok(())
    }
}

/// The queues of all that are connected.
type Everyone = Rc<RefCell<Vec<UnboundedSender<Utf8Bytes>>>>;

async fn send_all(
    mut outgoing: UnboundedReceiver<Utf8Bytes>,
    mut sink: impl SinkExt<Message, Error = tokio_tungstenite::tungstenite::Error> + Unpin,
) -> Result<()> {
    while let Some(text) = outgoing.recv().await {
        sink.feed(Message::Text(text)).await?;
        // What waits already goes out with it.
        while let Ok(text) = outgoing.try_recv() {
            sink.feed(Message::Text(text)).await?;
        }
        sink.flush().await?;
    }
    Ok(())
}

fn config() -> WebSocketConfig {
    WebSocketConfig::default().read_buffer_size(READ_BUFFER_BYTES)
}
