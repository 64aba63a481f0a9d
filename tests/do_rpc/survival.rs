//! Subscriptions outlive the room's memory, which the original's do not:
//! Syncline is idle, or killed and started again on what it had stored.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use rusqlite::{Connection, OpenFlags};
use syncline_tests::rpc::{event, events, new_store};
use syncline_tests::server::Server;
use syncline_tests::workerd::{Storage, Worker};

use crate::objects::{Clients, Object};
use crate::{PATIENCE, Scenario, scenarios};

/// Those of a server that others use too.
pub fn scenarios() -> Vec<Scenario> {
    scenarios![i3_an_idle_room_still_calls_its_subscribers]
}

/// A scenario that starts its server itself.
pub type Alone = (&'static str, fn(Storage));

/// Those with a server of their own.
pub fn alone() -> Vec<Alone> {
    vec![(
        "i3_subscriptions_outlive_a_kill",
        i3_subscriptions_outlive_a_kill,
    )]
}

fn i3_an_idle_room_still_calls_its_subscribers(clients: &Clients) {
    let store = new_store("idle");
    let [reader, writer] = ["r", "w"].map(|name| clients.object(name, &store));
    reader.subscribe(None).ok();
    writer.push_ok(&events(1, 2));
    assert_eq!(reader.called_until(2), [1, 2]);
    // workerd evicts after 10 s, the objects of both sides. Where it does not
    // the rest holds all the same.
    std::thread::sleep(Duration::from_secs(13));
    writer.push_ok(&events(3, 4));
    assert_eq!(reader.called_until(4), [1, 2, 3, 4]);
}

fn clients(server: Server) -> Clients {
    Clients {
        server: server.into(),
        patience: PATIENCE,
    }
}

fn i3_subscriptions_outlive_a_kill(storage: Storage) {
    let state = tempfile::tempdir().expect("a folder");
    let worker = Worker::syncline_with_clients(storage).expect("a worker");
    let store = new_store("kill");

    let before = clients(worker.start_in(state.path()).expect("it starts"));
    let names = ["r", "s", "w"];
    let [reader, slow, writer] = names.map(|name| before.object(name, &store));
    reader.subscribe(None).ok();
    writer.push_ok(&[event(1)]);
    slow.subscribe(None).ok();
    writer.push_ok(&[event(2)]);
    slow.called_until(2);
    wait_until_taken(&before, state.path(), &slow, 2);
    // From here on one of the two is deaf.
    slow.when_called("hang");
    writer.push_ok(&[event(3)]);
    writer.push_ok(&[event(4)]);
    assert_eq!(reader.called_until(4), [1, 2, 3, 4]);
    assert_eq!(slow.called_until(3), [2, 3]);
    wait_until_taken(&before, state.path(), &reader, 4);
    // Kills the whole group.
    drop(before);

    let after = clients(worker.start_in(state.path()).expect("it starts again"));
    let [reader, slow, writer] = names.map(|name| after.object(name, &store));
    writer.push_ok(&[event(5)]);
    assert_eq!(reader.called_until(5), [1, 2, 3, 4, 5]);
    // The call of 3 was under way: nobody knows whether it was taken.
    assert_eq!(slow.called_until(5), [2, 3, 3, 4, 5]);
    writer.push_ok(&[event(6)]);
    assert_eq!(reader.called_until(6), [1, 2, 3, 4, 5, 6]);
    assert_eq!(slow.called_until(6), [2, 3, 3, 4, 5, 6]);
}

/// Waits until the room has written down that an object has an event.
fn wait_until_taken(clients: &Clients, state: &Path, object: &Object<'_>, last: u64) {
    let file = database(state, &object.sync_id()).expect("the room's database");
    let id = object.context()["durableObjectId"].clone();
    let id = id.as_str().expect("an id");
    clients.wait("that it is written down", || {
        let attachment = attachment(&file, id).map_err(|error| format!("{error:#}"))?;
        let attachment: serde_json::Value =
            serde_json::from_str(&attachment).map_err(|error| error.to_string())?;
        if attachment["pulls"][0]["taken"] == last {
            return Ok(());
        }
        Err(attachment.to_string())
    });
}

fn attachment(file: &Path, object_id: &str) -> Result<String> {
    Ok(open(file)?.query_row(
        "SELECT attachment FROM syncline_subscribers WHERE objectId = ?",
        [object_id],
        |row| row.get(0),
    )?)
}

/// Tables of an object's database that are neither the runtime's nor
/// wrangler's own: none if there is no database.
pub fn tables(state: &Path, object_id: &str) -> Vec<String> {
    let Some(file) = database(state, object_id) else {
        return Vec::new();
    };
    let read = || -> Result<Vec<String>> {
        let database = open(&file)?;
        let mut statement = database.prepare(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE '\\_%' ESCAPE '\\'",
        )?;
        let names = statement.query_map([], |row| row.get(0))?;
        Ok(names.collect::<Result<_, _>>()?)
    };
    read().expect("a database")
}

fn open(file: &Path) -> Result<Connection> {
    let database = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    database.busy_timeout(Duration::from_secs(5))?;
    Ok(database)
}

/// The database of a Durable Object, as wrangler lays them out.
fn database(state: &Path, object_id: &str) -> Option<PathBuf> {
    let classes = state.join("v3/do").read_dir().ok()?.flatten();
    classes
        .map(|class| class.path().join(format!("{object_id}.sqlite")))
        .find(|file| file.exists())
}
