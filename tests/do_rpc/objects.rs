//! The objects of `tests/node/do-rpc`: real LiveStore clients, and raw ones
//! that send what a test says and note what they are called with.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use syncline_tests::http;
use syncline_tests::rpc::{cursor, option, request};
use syncline_tests::server::Server;

/// What wrangler answers to a request that it lost on its way to the worker:
/// where the machine is busy, a connection that it kept may be closed already.
/// The request may have arrived; so commands have keys.
const LOST: u16 = 503;

/// A server with clients in Durable Objects.
pub struct Clients {
    /// The clients' worker, which hands requests for stores to the server's.
    pub server: Arc<Server>,
    /// How long what has to come may take before its test fails.
    pub patience: Duration,
}

impl Clients {
    /// An object of a store.
    pub fn object<'a>(&'a self, name: &'a str, store: &'a str) -> Object<'a> {
        Object {
            clients: self,
            name,
            store,
        }
    }

    /// Asks until there is an answer.
    pub fn wait<T>(&self, what: &str, mut ask: impl FnMut() -> Result<T, String>) -> T {
        let deadline = Instant::now() + self.patience;
        loop {
            match ask() {
                Ok(answer) => return answer,
                Err(last) if Instant::now() > deadline => panic!("{what} does not come: {last}"),
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }
}

/// A Durable Object with a client of one store.
#[derive(Clone, Copy)]
pub struct Object<'a> {
    clients: &'a Clients,
    /// Its name, and its LiveStore client id.
    pub name: &'a str,
    /// Its store.
    pub store: &'a str,
}

/// What a call was answered.
#[derive(Debug)]
pub struct Answer {
    /// The pieces that it came in.
    pub pieces: usize,
    /// The messages of all of them.
    pub messages: Vec<Value>,
    /// What the call threw instead.
    #[expect(dead_code, reason = "seen where an answer is shown")]
    threw: Option<String>,
}

/// A todo for a real client.
pub fn todo(id: &str) -> Value {
    json!({"name": "TodoCreated", "id": id, "title": format!("todo {id}")})
}

impl<'a> Object<'a> {
    /// Another object of the same store.
    pub fn beside(&self, name: &'a str) -> Self {
        Self { name, ..*self }
    }

    fn try_command(&self, command: &str, body: &Value) -> Result<Value, String> {
        let url = format!("/{}/{}/{command}", self.name, self.store);
        let mut body = body.clone();
        body["key"] = json!(new_id());
        let deadline = Instant::now() + self.clients.patience;
        loop {
            let Clients { server, patience } = self.clients;
            let body = body.to_string();
            let response = http::request_within(*patience, server, "POST", &url, &[], &body);
            match response.status {
                200 => return Ok(response.json()),
                LOST if Instant::now() < deadline => {}
                _ => return Err(response.body),
            }
        }
    }

    fn command(&self, command: &str, body: &Value) -> Value {
        self.try_command(command, body)
            .unwrap_or_else(|error| panic!("{command} of {}: {error}", self.name))
    }

    // Of a real client.

    /// Opens its store.
    pub fn open(&self) {
        self.command("open", &json!({}));
    }

    /// Commits.
    pub fn commit(&self, events: &[Value]) {
        self.command("commit", &json!({ "events": events }));
    }

    /// Commits a todo with a title of this length.
    pub fn commit_large(&self, id: &str, bytes: usize) {
        self.command("large", &json!({"id": id, "bytes": bytes}));
    }

    /// Waits until the server has all that it committed, and it all that the
    /// server has up to `head`.
    pub fn settled(&self, head: u64) {
        self.clients.wait("what was committed", || {
            let state = self.try_command("state", &json!({}))?;
            if state["pending"] == 0 && state["head"] == head {
                return Ok(());
            }
            let todos = state["todos"].as_array().map_or(0, Vec::len);
            Err(format!(
                "{} wants {head}, has head {}, pending {}, {todos} todos",
                self.name, state["head"], state["pending"]
            ))
        });
    }

    /// Waits until it shows these todos, by their ids.
    pub fn shows(&self, todos: &[&str]) {
        self.clients.wait("what is shown", || {
            let state = self.try_command("state", &json!({}))?;
            let shown = state["todos"].as_array().expect("todos");
            let shown: Vec<_> = shown.iter().filter_map(|it| it["id"].as_str()).collect();
            if shown == todos {
                return Ok(());
            }
            Err(format!("{} shows {shown:?}, not {todos:?}", self.name))
        });
    }

    /// Its event log.
    pub fn log(&self) -> Vec<Value> {
        let log = self.command("log", &json!({}));
        log["events"].as_array().expect("events").clone()
    }

    /// Closes its store; the next command opens it again.
    pub fn shut_down(&self) {
        self.command("shutdown", &json!({}));
    }

    /// Takes its memory away.
    pub fn evict(&self) {
        let evicted = self.try_command("evict", &json!({}));
        assert!(evicted.is_err(), "an object that is gone does not answer");
    }

    // Of a raw one.

    /// Makes a call with these messages.
    pub fn send(&self, messages: &[Value]) -> Answer {
        self.raw(&json!({ "send": messages }))
    }

    /// Makes a call of something else: see tests/node/do-rpc/README.md.
    pub fn raw(&self, body: &Value) -> Answer {
        let answer = self.command("raw", body);
        let pieces = answer["pieces"].as_array().cloned().unwrap_or_default();
        let messages = |piece: &Value| piece["messages"].as_array().cloned().unwrap_or_default();
        Answer {
            pieces: pieces.len(),
            messages: pieces.iter().flat_map(messages).collect(),
            threw: answer["threw"].as_str().map(str::to_owned),
        }
    }

    /// Makes a call with one request: the answer, and the id.
    pub fn ask(&self, tag: &str, payload: Value) -> (Answer, String) {
        let id = new_id();
        let answer = self.send(&[request(&id, tag, payload)]);
        (answer, id)
    }

    /// Pulls all that follows a cursor.
    pub fn pull(&self, after: Option<Value>) -> Pulled {
        let payload = json!({"storeId": self.store, "cursor": option(after)});
        let (answer, id) = self.ask("SyncDoRpc.Pull", payload);
        answer.pulled(&id)
    }

    /// Pulls live: the object is called with what is pushed later.
    pub fn subscribe(&self, after: Option<Value>) -> Pulled {
        self.subscribe_as(after, &self.context())
    }

    /// The same, naming another object.
    pub fn subscribe_as(&self, after: Option<Value>, context: &Value) -> Pulled {
        let payload = json!({
            "storeId": self.store,
            "cursor": option(after),
            "rpcContext": {"callerContext": context},
        });
        let (answer, id) = self.ask("SyncDoRpc.Pull", payload);
        answer.pulled(&id)
    }

    /// Goes on live from a cursor, as it stands in this log.
    pub fn subscribe_after(&self, seq_num: u64) -> Pulled {
        let backend_id = self.backend_id();
        let after = i64::try_from(seq_num).expect("a small number");
        self.subscribe(Some(cursor(&backend_id, after)))
    }

    /// What it calls itself towards the server.
    pub fn context(&self) -> Value {
        self.command("object", &json!({}))["callerContext"].clone()
    }

    /// The id of the store's object at the server.
    pub fn sync_id(&self) -> String {
        let object = self.command("object", &json!({}));
        object["sync"].as_str().expect("an id").to_owned()
    }

    /// The backend id of the store.
    pub fn backend_id(&self) -> String {
        self.pull(None).backend_id
    }

    /// Pushes: the Exit.
    pub fn push(&self, batch: &[Value]) -> Value {
        self.push_to(self.store, batch, None)
    }

    /// Pushes, naming a store and a backend id.
    pub fn push_to(&self, store: &str, batch: &[Value], backend_id: Option<&str>) -> Value {
        let backend_id = option(backend_id.map(Value::from));
        let payload = json!({"storeId": store, "batch": batch, "backendId": backend_id});
        let (answer, id) = self.ask("SyncDoRpc.Push", payload);
        answer.exit(&id)
    }

    /// Pushes and sees it accepted.
    pub fn push_ok(&self, batch: &[Value]) {
        assert_eq!(self.push(batch), json!({"_tag": "Success", "value": {}}));
    }

    /// How it behaves from now on when it is called.
    pub fn when_called(&self, mode: &str) {
        self.command("callback", &json!({ "mode": mode }));
    }

    /// What it was called with.
    pub fn updates(&self) -> Vec<Value> {
        let updates = self.command("updates", &json!({}));
        updates["updates"].as_array().expect("updates").clone()
    }

    /// The stores that it was told when it was called; null where it was not.
    pub fn stores_told(&self) -> Vec<Value> {
        let updates = self.command("updates", &json!({}));
        updates["stores"].as_array().expect("stores").clone()
    }

    /// Whether each of its calls was bytes.
    pub fn were_packed(&self) -> Vec<Value> {
        let updates = self.command("updates", &json!({}));
        updates["packed"].as_array().expect("calls").clone()
    }

    /// The numbers of the events that it was called with, as they came.
    pub fn called_with(&self) -> Vec<u64> {
        self.updates()
            .iter()
            .flat_map(syncline_tests::rpc::numbers)
            .collect()
    }

    /// The same, once that of `last` has come.
    pub fn called_until(&self, last: u64) -> Vec<u64> {
        self.clients.wait("a call", || {
            let numbers = self.called_with();
            if numbers.contains(&last) {
                Ok(numbers)
            } else {
                Err(format!("{} has {numbers:?}, wants {last}", self.name))
            }
        })
    }

    /// Waits until it was called this often.
    pub fn called_times(&self, times: usize) {
        self.clients.wait("a call", || match self.updates().len() {
            calls if calls >= times => Ok(()),
            calls => Err(format!("{} was called {calls} times", self.name)),
        });
    }
}

impl Answer {
    /// The Exit of a call with one request, and nothing else.
    pub fn exit(&self, id: &str) -> Value {
        let [exit] = self.messages.as_slice() else {
            panic!("one Exit was due: {self:?}");
        };
        assert_eq!(exit["_tag"], "Exit", "an Exit was due: {self:?}");
        assert_eq!(exit["requestId"], id, "of this request: {self:?}");
        exit["exit"].clone()
    }

    fn pulled(self, id: &str) -> Pulled {
        let Some((exit, chunks)) = self.messages.split_last() else {
            panic!("an Exit was due: {self:?}");
        };
        for message in &self.messages {
            assert_eq!(message["requestId"], id, "of another request: {message}");
        }
        assert_eq!(exit["_tag"], "Exit", "an Exit was due: {exit}");
        let backend_id = chunks
            .first()
            .and_then(|chunk| chunk["values"][0]["backendId"].as_str());
        Pulled {
            id: id.to_owned(),
            backend_id: backend_id.unwrap_or_default().to_owned(),
            chunks: chunks.to_vec(),
            exit: exit["exit"].clone(),
            pieces: self.pieces,
        }
    }
}

/// What a pull was answered.
pub struct Pulled {
    /// The request's id.
    pub id: String,
    /// The log's.
    pub backend_id: String,
    /// Its Chunks.
    pub chunks: Vec<Value>,
    /// How it ended.
    pub exit: Value,
    /// The pieces that it came in.
    pub pieces: usize,
}

impl Pulled {
    /// Sees that it ended well.
    pub fn ok(self) -> Self {
        assert_eq!(self.exit, json!({"_tag": "Success"}), "the pull ends well");
        self
    }

    /// The numbers of its events.
    pub fn numbers(&self) -> Vec<u64> {
        let numbers = self.chunks.iter().flat_map(syncline_tests::rpc::numbers);
        numbers.collect()
    }

    /// Its events.
    pub fn events(&self) -> Vec<Value> {
        let items = self.chunks.iter().flat_map(syncline_tests::rpc::batch);
        items.map(|item| item["eventEncoded"].clone()).collect()
    }
}

/// A request id that no other request has, nor any of the real clients in the
/// same isolate: they count from 0, and find their mailboxes by it alone.
pub fn new_id() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1_000_000_000);
    NEXT.fetch_add(1, Ordering::Relaxed).to_string()
}
