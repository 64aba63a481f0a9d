//! A tap on the wire between a real client and a server: it passes everything
//! on, and remembers what the server said.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use syncline_tests::server::Server;

/// A tap, until the test ends.
pub struct Tap {
    /// What the client connects to.
    pub url: String,
    heard: Arc<Mutex<Vec<u8>>>,
}

impl Tap {
    pub fn on(server: &Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().unwrap());
        let authority = server.url.trim_start_matches("http://").to_owned();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let remembered = Arc::clone(&heard);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // A server that is gone refuses, and so does the tap.
                if let Ok(server) = TcpStream::connect(&authority) {
                    pass_on(client, server, &remembered);
                }
            }
        });
        Self { url, heard }
    }

    /// Whether the server has said this.
    pub fn has_heard(&self, text: &str) -> bool {
        let heard = self.heard.lock().unwrap();
        heard.windows(text.len()).any(|it| it == text.as_bytes())
    }
}

fn pass_on(client: TcpStream, server: TcpStream, heard: &Arc<Mutex<Vec<u8>>>) {
    let (to_client, to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    thread::spawn(move || {
        let mut client = BufReader::new(client);
        let _ = pass_head(&mut client, &to_server);
        copy(client, to_server, |_| {});
    });
    let heard = Arc::clone(heard);
    thread::spawn(move || {
        copy(server, to_client, |bytes| {
            heard.lock().unwrap().extend(bytes);
        });
    });
}

/// A request's head, without the offer to compress: what is said has to be
/// readable.
fn pass_head(client: &mut impl BufRead, mut server: &TcpStream) -> std::io::Result<()> {
    loop {
        let mut line = String::new();
        client.read_line(&mut line)?;
        let name = line.to_ascii_lowercase();
        if !name.starts_with("sec-websocket-extensions:") {
            server.write_all(line.as_bytes())?;
        }
        if line.trim().is_empty() {
            return Ok(());
        }
    }
}

fn copy(mut from: impl Read, mut to: TcpStream, seen: impl Fn(&[u8])) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        seen(&buffer[..count]);
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}
