//! The server under test: what `syncline serve` starts, on a shim that takes
//! its orders from stdin.

use std::collections::BTreeMap;
use std::io::{self, BufRead};
use std::path::PathBuf;

use anyhow::Result;
use syncline::{
    App, ClaimsFile, Equipment, Gateway, Limits, Listeners, Location, Quotas, Runtime, Shards,
    Variable,
};

use crate::shim;

/// Serves `./data` until it is killed.
pub fn run() -> Result<()> {
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(false)
        .init();
    shim::install();
    let env = BTreeMap::from([("ENVIRONMENT".to_owned(), "development".to_owned())]);
    let env = |_: &[Variable]| Ok::<_, String>(env);
    let quotas = Quotas::new(&Location::Memory);
    let runtime = Runtime::new(None, env, ClaimsFile::new(None), quotas)?;
    let (gateway, _) = Gateway::new(&runtime)?;
    std::fs::create_dir_all("data")?;
    let location = Location::Sqlite(PathBuf::from("data"));
    let shards = Shards::start(&runtime, &location, &Limits::default())?;
    std::thread::spawn(|| {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            shim::set(line.parse().expect("a fault"));
            println!("fault: {line}");
        }
    });
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(async {
            let listen = "127.0.0.1:0".parse().map_err(anyhow::Error::msg)?;
            let listeners = Listeners::bind(&listen).await?;
            println!("listens on {listeners}");
            App::new(gateway, shards, Limits::default(), Equipment::default())
                .serve(listeners, std::future::pending())
                .await;
            Ok(())
        })
}
