//! What a person meets at the command line: addresses, colours, help, tokens.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::net::{TcpListener, ToSocketAddrs};
use std::os::fd::{FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use syncline::command::config::PROCESS_VARIABLES;
use syncline::{ClaimsFile, Location, Quotas, Runtime, Telemetry};
use syncline_tests::http::get;
use syncline_tests::process::Process;
use syncline_tests::server::{Server, Syncline};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

/// Sees `serve --listen ADDRESS` refuse to serve; its words.
fn refuses_to_listen(dir: &Path, address: &str) -> String {
    let output = Syncline::with_variables(&[])
        .run(dir, &["serve", "--listen", address])
        .unwrap();
    assert!(!output.status.success(), "{address}");
    text(output.stderr)
}

#[test]
fn a_name_is_listened_on_at_every_address_that_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let (_process, url) = Syncline::with_variables(&[])
        .serve(dir.path(), "localhost:0")
        .unwrap();
    let port = url.strip_prefix("http://localhost:").expect("the name");
    let port: u16 = port.parse().expect("the port that was chosen");
    let mut asked = 0;
    for address in ("localhost", port).to_socket_addrs().unwrap() {
        // Hosts files name `::1` on machines without IPv6, too.
        if TcpListener::bind((address.ip(), 0)).is_ok() {
            let server = Server {
                url: format!("http://{address}"),
                process: None,
                dir: None,
                is_original: false,
            };
            assert_eq!(get(&server, "/healthz").status, 200, "{address}");
            asked += 1;
        }
    }
    assert!(asked > 0, "localhost has an address");
}

#[test]
fn an_address_that_cannot_be_had_is_named_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    for address in ["8787", "localhost", "localhost:http"] {
        let said = refuses_to_listen(dir.path(), address);
        assert!(said.contains("localhost:8787"), "{address}: {said}");
    }
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let said = refuses_to_listen(dir.path(), &format!("localhost:{port}"));
    assert!(
        said.contains(&format!("127.0.0.1:{port}")) && said.contains("another program"),
        "{said}"
    );
    // RFC 5737: no machine's.
    let said = refuses_to_listen(dir.path(), "192.0.2.1:0");
    assert!(
        said.contains("192.0.2.1") && said.contains("127.0.0.1"),
        "{said}"
    );
}

#[test]
fn the_examples_secrets_are_for_this_machine_alone() {
    let dir = tempfile::tempdir().unwrap();
    fs::copy(
        root().join(".dev.vars.example"),
        dir.path().join(".dev.vars"),
    )
    .unwrap();
    // An address beyond this machine, but no socket there, whatever happens.
    let said = refuses_to_listen(dir.path(), "192.0.2.1:0");
    assert!(
        said.contains("JWT_SECRET") && said.contains("openssl"),
        "{said}"
    );
    assert!(!said.contains("change-me"), "{said}");
    let mut here = Syncline::with_variables(&[]);
    here.log = Some(dir.path().join("log"));
    let (_process, _) = here.serve(dir.path(), "127.0.0.1:0").unwrap();
    let log = fs::read_to_string(dir.path().join("log")).unwrap();
    assert!(!log.contains("JWT_SECRET is"), "{log}");
}

#[test]
fn a_public_bypass_token_opens_the_door_too() {
    let dir = tempfile::tempdir().unwrap();
    let own = "a-secret-of-ones-own-that-nobody-has-read";
    for name in ["SERVER_BYPASS_TOKEN", "ADMIN_SECRET"] {
        let variables = [
            ("REQUIRE_AUTH", "true"),
            ("JWT_SECRET", own),
            (name, "dev-server-bypass-token"),
        ];
        let listen = ["serve", "--listen", "192.0.2.1:0"];
        let output = Syncline::with_variables(&variables)
            .run(dir.path(), &listen)
            .unwrap();
        assert!(!output.status.success());
        let said = text(output.stderr);
        assert!(
            said.contains(name) && !said.contains("dev-server"),
            "{said}"
        );
    }
}

/// How every colour begins.
const ESCAPE: char = '\u{1b}';

/// What the log says when the server starts.
const LOGGED: &str = "ENVIRONMENT is `development`";

/// The end of the last of it.
const LOGGED_LAST: &str = "write every store";

#[test]
fn no_colours_go_into_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let mut syncline = Syncline::with_variables(&[("TERM", "xterm")]);
    syncline.log = Some(dir.path().join("log"));
    let (_process, _) = syncline.serve(dir.path(), "127.0.0.1:0").unwrap();
    let log = fs::read_to_string(dir.path().join("log")).unwrap();
    assert!(log.contains(LOGGED), "{log}");
    assert!(!log.contains(ESCAPE), "{log:?}");
}

/// A pseudoterminal: our side, and the program's.
fn terminal() -> (OwnedFd, OwnedFd) {
    use std::ptr::null_mut;
    let (mut ours, mut theirs) = (-1, -1);
    // SAFETY: openpty(3) writes two descriptors, which nobody else has, and
    // takes no name, attributes and size.
    unsafe {
        let (our, their) = (&raw mut ours, &raw mut theirs);
        let result = libc::openpty(our, their, null_mut(), null_mut(), null_mut());
        assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
        (OwnedFd::from_raw_fd(ours), OwnedFd::from_raw_fd(theirs))
    }
}

/// What a server logs to a terminal until it listens.
fn logged_to_a_terminal(syncline: &Syncline, dir: &Path) -> String {
    let (terminal, side) = terminal();
    let mut command = syncline.command(dir).unwrap();
    command.args(["serve", "--listen", "127.0.0.1:0", "--storage", "memory"]);
    command.stderr(side);
    let mut process = Process::start(command).unwrap();
    let listens = |line: &str| line.contains("listens on").then_some(());
    process.wait_for(Duration::from_secs(60), listens).unwrap();
    process.kill().unwrap();
    let mut said = Vec::new();
    let mut terminal = fs::File::from(terminal);
    let mut piece = [0; 4_096];
    // The end comes when nobody has the other side any more, on Linux as an
    // error; another test's server may have got it with what it inherits.
    while !String::from_utf8_lossy(&said).contains(LOGGED_LAST)
        && let Ok(bytes @ 1..) = terminal.read(&mut piece)
    {
        said.extend_from_slice(&piece[..bytes]);
    }
    text(said)
}

#[test]
fn colours_are_for_terminals_unless_no_color_is_set() {
    let dir = tempfile::tempdir().unwrap();
    for (no_color, has_colours) in [("", true), ("1", false)] {
        let syncline =
            Syncline::with_variables(&[("TERM", "xterm-256color"), ("NO_COLOR", no_color)]);
        let log = logged_to_a_terminal(&syncline, dir.path());
        assert!(log.contains(LOGGED) && log.contains(LOGGED_LAST), "{log}");
        assert_eq!(log.contains(ESCAPE), has_colours, "{log:?}");
    }
}

#[test]
fn help_and_readme_list_every_variable() {
    let dir = tempfile::tempdir().unwrap();
    let output = Syncline::with_variables(&[])
        .run(dir.path(), &["serve", "--help"])
        .unwrap();
    assert!(output.status.success());
    let help = text(output.stdout);
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let none = |_: &[_]| Ok::<_, String>(BTreeMap::new());
    let runtime = Runtime::new(
        None,
        none,
        ClaimsFile::new(None),
        Quotas::new(&Location::Memory),
        Telemetry::off(),
    )
    .unwrap();
    let of_component = runtime.terms().variables.iter();
    let of_component = of_component.filter_map(|it| Some((it.name.as_str(), it.help.as_deref()?)));
    let of_process = PROCESS_VARIABLES.iter().map(|it| (it.name, it.help));
    let listed: Vec<_> = of_component.chain(of_process).collect();
    assert!(listed.iter().any(|(name, _)| *name == "JWT_SECRET"));
    for (name, words) in listed {
        let line = help.lines().find(|line| line.trim().starts_with(name));
        let line = line.unwrap_or_else(|| panic!("{name} is missing:\n{help}"));
        assert!(line.contains(words), "{line}");
        let quoted = format!("`{name}`");
        let mut rows = readme.lines().filter_map(|line| line.strip_prefix("| "));
        let is_listed = rows.any(|row| row.split(" | ").next().unwrap().contains(&quoted));
        assert!(is_listed, "{name}");
    }
    assert!(help.contains(".dev.vars"), "{help}");
}

#[test]
fn token_says_what_it_understood_apart_from_the_token() {
    let dir = tempfile::tempdir().unwrap();
    let syncline =
        Syncline::with_variables(&[("JWT_SECRET", "an-operators-secret-of-more-than-32-bytes")]);
    let arguments = "token --user ada --workspace a:b:c --workspace plain --ttl 90s";
    let arguments: Vec<_> = arguments.split(' ').collect();
    let output = syncline.run(dir.path(), &arguments).unwrap();
    assert!(output.status.success());
    let said = text(output.stderr);
    for words in [
        r#"user "ada""#,
        "1m 30s",
        r#"workspace "a:b" with role "c""#,
        r#"workspace "plain" with role "member""#,
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    // A JWT and a newline: `$(syncline token …)` is what scripts write.
    let token = text(output.stdout);
    assert_eq!(token.trim_end().split('.').count(), 3, "{token}");
    assert_eq!(token.lines().count(), 1, "{token}");
    assert!(!said.contains(token.trim_end()), "{said}");
}
