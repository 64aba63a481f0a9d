//! The Worker behind `wrangler dev`'s own proxy, which calls it without an eye
//! on its client: who hangs up before an answer has begun goes unnoticed there.

use std::fs;

use syncline_tests::exchange::Ask;
use syncline_tests::server::Server;

use crate::stage::{Host, Stage};

/// Where the server itself listens.
pub fn url(stage: &Stage) -> String {
    url_of(stage.host, &stage.server)
}

/// The same of another server.
pub fn url_of(host: Host, server: &Server) -> String {
    if host == Host::Wasmtime {
        return server.url.clone();
    }
    let process = server.process.as_ref().expect("a process");
    let urls = ports(process.id()).into_iter();
    let mut urls = urls
        .map(|port| format!("http://127.0.0.1:{port}"))
        .filter(|url| *url != server.url);
    let is_worker = |url: &String| {
        let (answer, _) = Ask::get("/healthz").begin_with(url, "").rest();
        answer.body[..] == *b"ok\n"
    };
    urls.find(is_worker)
        .expect("the Worker listens behind the proxy")
}

/// The ports that workerd listens on in a session, from Linux' `/proc`.
pub fn ports(session: u32) -> Vec<u16> {
    let session = session.to_string();
    let mut sockets = Vec::new();
    for entry in fs::read_dir("/proc").expect("Linux").flatten() {
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let Some((before, fields)) = stat.rsplit_once(") ") else {
            continue;
        };
        // State, parent, group, session.
        let is_of_session = fields.split(' ').nth(3) == Some(&*session);
        if !is_of_session || !before.ends_with("(workerd") {
            continue;
        }
        let open = fs::read_dir(entry.path().join("fd")).into_iter().flatten();
        for link in open
            .flatten()
            .filter_map(|it| fs::read_link(it.path()).ok())
        {
            let link = link.to_string_lossy().into_owned();
            if let Some(inode) = link.strip_prefix("socket:[") {
                sockets.push(inode.trim_end_matches(']').to_owned());
            }
        }
    }
    let table = fs::read_to_string("/proc/net/tcp").expect("Linux");
    let listening = table.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, local, _, "0A", _, _, _, _, _, inode, ..] = fields[..] else {
            return None;
        };
        let (_, port) = local.split_once(':')?;
        let is_ours = sockets.iter().any(|it| it == inode);
        u16::from_str_radix(port, 16).ok().filter(|_| is_ours)
    });
    listening.collect()
}
