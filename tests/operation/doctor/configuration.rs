//! What a server would be started with.

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;
use syncline_tests::server::{Syncline, binary};
use syncline_tests::token::{now, sign};

use super::{SMALL, STRONG, doctor, outcome};

/// `nobody`, nearly everywhere; what counts is that nothing here is its.
const NOBODY: u32 = 65_534;

const LISTEN: [&str; 2] = ["--listen", "127.0.0.1:0"];

fn production(variables: &[(&'static str, &str)]) -> Syncline {
    let all = [&[("ENVIRONMENT", "production")][..], variables].concat();
    Syncline::with_variables(&all)
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_good_configuration_is_well_and_nothing_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let syncline = production(&[("JWT_SECRET", STRONG)]);
    let found = doctor(&syncline, dir.path(), &[&LISTEN[..], &SMALL].concat());
    assert_eq!(found.code, 0);
    for check in [
        "configuration",
        "secrets",
        "variables",
        "files",
        "machine",
        "storage",
    ] {
        found.well(check);
    }
    found.expect("ok", "configuration", &["production"]);
    found.expect("ok", "secrets", &["JWT_SECRET", "48 bytes", "strong"]);
    assert_eq!(dir.path().read_dir().unwrap().count(), 0);
}

#[test]
fn what_the_component_refuses_is_said_in_its_words() {
    let dir = tempfile::tempdir().unwrap();
    let found = doctor(&production(&[]), dir.path(), &LISTEN);
    found.expect("fail", "configuration", &["JWT_SECRET is not set"]);
    let syncline = Syncline::with_variables(&[("GRACE_PERIOD_SECONDS", "a day")]);
    let found = doctor(&syncline, dir.path(), &LISTEN);
    found.expect("fail", "configuration", &["GRACE_PERIOD_SECONDS"]);
}

#[test]
fn a_weak_secret_is_seen_and_not_shown() {
    let dir = tempfile::tempdir().unwrap();
    for (secret, status, words) in [
        ("short-Secret-9", "fail", "32"),
        ("dev-jwt-secret-change-me-in-production", "fail", "default"),
        ("passwordpasswordpasswordpassword", "warn", "guessed"),
        (
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "warn",
            "guessed",
        ),
    ] {
        let syncline = production(&[("JWT_SECRET", secret)]);
        let found = doctor(&syncline, dir.path(), &LISTEN);
        found.expect(status, "secrets", &["JWT_SECRET", words, "openssl rand"]);
    }
    // Each of them, and not the first alone.
    let syncline = production(&[
        ("JWT_SECRET", STRONG),
        ("SERVER_BYPASS_TOKEN", "short-bypass"),
        ("ADMIN_SECRET", "short-admin"),
    ]);
    let found = doctor(&syncline, dir.path(), &LISTEN);
    found.expect("ok", "secrets", &["JWT_SECRET"]);
    found.expect("fail", "secrets", &["SERVER_BYPASS_TOKEN"]);
    found.expect("fail", "secrets", &["ADMIN_SECRET"]);
    let syncline = production(&[("JWT_SECRET", STRONG), ("ADMIN_SECRET", STRONG)]);
    let found = doctor(&syncline, dir.path(), &LISTEN);
    found.expect(
        "warn",
        "secrets",
        &["ADMIN_SECRET and JWT_SECRET are the same"],
    );
}

#[test]
fn the_examples_secret_is_for_this_machine_alone() {
    let dir = tempfile::tempdir().unwrap();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.dev.vars.example");
    fs::copy(example, dir.path().join(".dev.vars")).unwrap();
    let syncline = Syncline::with_variables(&[]);
    let found = doctor(&syncline, dir.path(), &LISTEN);
    assert_eq!(found.code, 0);
    found.expect("warn", "secrets", &["JWT_SECRET is for development alone"]);
    let found = doctor(&syncline, dir.path(), &["--listen", "0.0.0.0:0"]);
    found.expect(
        "fail",
        "configuration",
        &["JWT_SECRET", "others than this machine"],
    );
    assert!(!format!("{found:?}").contains("change-me"), "{found:?}");
}

#[test]
fn a_variable_that_nobody_reads_is_named_with_the_one_that_is_meant() {
    let dir = tempfile::tempdir().unwrap();
    let dev_vars = dir.path().join(".dev.vars");
    fs::write(
        &dev_vars,
        "REQUIRE_AUHT=true\nSTORAGE=d1\nMY_OWN=1\nRUST_LOG=debug\n",
    )
    .unwrap();
    let syncline = Syncline::with_variables(&[("JWT_SECERT", STRONG), ("HOST_REACH", "loopback")]);
    let found = doctor(&syncline, dir.path(), &LISTEN);
    found.expect(
        "warn",
        "variables",
        &["JWT_SECERT in the environment", "Is JWT_SECRET meant?"],
    );
    found.expect(
        "warn",
        "variables",
        &["REQUIRE_AUHT in .dev.vars", "Is REQUIRE_AUTH meant?"],
    );
    found.expect("warn", "variables", &["MY_OWN in .dev.vars", "--help"]);
    found.expect(
        "warn",
        "variables",
        &["RUST_LOG in .dev.vars", "Set it in the environment"],
    );
    found.expect("warn", "variables", &["HOST_REACH", "sets it by itself"]);
    assert_eq!(
        found.of("variables").len(),
        5,
        "STORAGE is the Worker's: {found:#?}"
    );
    fs::write(
        &dev_vars,
        "REQUIRE_AUTH=true\nJWT_SECRET=a-secret-of-ones-own\n",
    )
    .unwrap();
    doctor(&Syncline::with_variables(&[]), dir.path(), &LISTEN).well("variables");
}

#[test]
fn a_file_with_secrets_that_others_may_read_is_seen() {
    let dir = tempfile::tempdir().unwrap();
    let dev_vars = dir.path().join(".dev.vars");
    fs::write(&dev_vars, format!("JWT_SECRET={STRONG}\n")).unwrap();
    let syncline = Syncline::with_variables(&[]);
    set_mode(&dev_vars, 0o644);
    let found = doctor(&syncline, dir.path(), &LISTEN);
    found.expect(
        "warn",
        "files",
        &[".dev.vars has secrets", "644", "chmod 600"],
    );
    assert!(!format!("{found:?}").contains(STRONG));
    set_mode(&dev_vars, 0o600);
    doctor(&syncline, dir.path(), &LISTEN).well("files");
}

#[test]
fn the_files_that_flags_name_are_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let syncline = Syncline::with_variables(&[]);
    let look =
        |arguments: &[&str]| doctor(&syncline, dir.path(), &[&LISTEN[..], arguments].concat());

    fs::write(path("claims.json"), "{\"ada\": \"two\"}").unwrap();
    let claims = ["--claims-versions", "claims.json"];
    look(&claims).expect("fail", "files", &["claims.json", "a version is no number"]);
    look(&["--claims-versions", "none.json"]).expect("fail", "files", &["none.json"]);
    fs::write(path("claims.json"), "{\"ada\": 2}").unwrap();
    look(&claims).well("files");
    set_mode(&path("claims.json"), 0o666);
    look(&claims).expect("fail", "files", &["everybody", "claims.json", "chmod 644"]);

    fs::create_dir(path("app")).unwrap();
    look(&["--assets", "app"]).expect("warn", "files", &["index.html"]);
    look(&["--assets", "none"]).expect("fail", "files", &["--assets"]);
    fs::write(path("app/index.html"), "").unwrap();
    look(&["--assets", "app"]).well("files");

    look(&["--images", "pictures"]).well("files");
    assert!(!path("pictures").exists(), "it was made");
    look(&["--images", "claims.json"]).expect("fail", "files", &["--images", "no directory"]);
    look(&["--llm-tools", "none.json"]).expect("fail", "files", &["--llm-tools"]);
}

#[test]
fn a_data_directory_that_others_may_write_is_seen() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    fs::create_dir(&data).unwrap();
    let syncline = production(&[("JWT_SECRET", STRONG)]);
    set_mode(&data, 0o777);
    let found = doctor(&syncline, dir.path(), &LISTEN);
    found.expect("fail", "files", &["may write", "data", "chmod 700"]);
    set_mode(&data, 0o755);
    let found = doctor(&syncline, dir.path(), &LISTEN);
    found.expect("warn", "files", &["may read", "chmod 700"]);
    set_mode(&data, 0o700);
    doctor(&syncline, dir.path(), &LISTEN).well("files");
}

#[test]
fn a_data_directory_that_this_user_may_not_write_is_seen() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("shard-0.db"), "").unwrap();
    set_mode(&data, 0o555);
    set_mode(&data.join("shard-0.db"), 0o444);
    let syncline = Syncline::with_variables(&[]);
    let mut command = syncline.command(dir.path()).unwrap();
    if fs::metadata(&data).unwrap().uid() == 0 {
        // The administrator may write whatever the rights say. The binary may
        // be where nobody else can go; see files.rs for why it is `cp`.
        let copy = dir.path().join("syncline");
        let copied = Command::new("cp")
            .arg(binary().unwrap())
            .arg(&copy)
            .status();
        assert!(copied.unwrap().success());
        set_mode(dir.path(), 0o755);
        command = Command::new(copy);
        command.current_dir(dir.path()).uid(NOBODY).env_clear();
    }
    command.args(["doctor", "--json"]).args(LISTEN);
    let output = command.stdin(Stdio::null()).output();
    set_mode(&data, 0o755);
    let found = outcome(&syncline, &LISTEN, &output.unwrap());
    found.expect("fail", "files", &["data", "Permission denied"]);
    found.expect("fail", "files", &["shard-0.db"]);
}

#[test]
fn an_address_that_another_program_has_is_seen() {
    let dir = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let syncline = Syncline::with_variables(&[]);
    let found = doctor(&syncline, dir.path(), &["--listen", &address]);
    found.expect("fail", "machine", &["another program", &address]);
}

#[test]
fn limits_beyond_what_the_machine_has_are_seen() {
    let dir = tempfile::tempdir().unwrap();
    let syncline = Syncline::with_variables(&[]);
    let much = ["--output-bytes-max", "1000000000000000"];
    let found = doctor(&syncline, dir.path(), &[&LISTEN[..], &much].concat());
    found.expect("warn", "machine", &["memory", "--output-bytes-max"]);
    let found = doctor(
        &syncline,
        dir.path(),
        &[&LISTEN[..], &["--rooms-awake-max", "1000000"]].concat(),
    );
    if cfg!(target_os = "linux") {
        found.expect("warn", "machine", &["rooms may be awake"]);
    }
    // Fewer files than sockets.
    let mut shell = syncline.command(dir.path()).unwrap();
    let binary = shell.get_program().to_owned();
    let mut limited = Command::new("sh");
    limited
        .args(["-c", "ulimit -n 300 && exec \"$0\" \"$@\""])
        .arg(binary);
    limited
        .args(["doctor", "--json"])
        .args(LISTEN)
        .args(["--connections-max", "5000"]);
    limited.current_dir(dir.path());
    shell.args(LISTEN);
    let found = outcome(&syncline, &LISTEN, &limited.output().unwrap());
    found.expect(
        "warn",
        "machine",
        &["Only 300 files may be open", "LimitNOFILE"],
    );
}

#[test]
fn a_token_is_compared_with_the_clock_and_the_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let syncline = production(&[("JWT_SECRET", STRONG), ("GRACE_PERIOD_SECONDS", "600")]);
    let look = |token: &str, more: &[&str]| {
        let arguments = [&LISTEN[..], &["--token", token], more].concat();
        doctor(&syncline, dir.path(), &arguments)
    };
    let claims = |issued: u64, expires: u64| {
        json!({
            "userId": "ada-the-user", "iat": issued, "exp": expires, "workspaceClaimsVersion": 1,
            "workspaces": [{"id": "shop", "role": "owner"}],
        })
    };
    let good = sign(&claims(now(), now() + 900), STRONG);
    let found = look(&good, &[]);
    found.well("token");
    found.expect("ok", "token", &["lets it into store", "shop"]);
    assert!(
        !format!("{found:?}").contains("ada-the-user"),
        "claims are nobody's to read"
    );
    look(&good, &["--store", "other"]).expect("fail", "token", &["FORBIDDEN"]);

    let late = look(&sign(&claims(now() - 900, now() - 60), STRONG), &[]);
    late.expect("warn", "token", &["expired", "GRACE_PERIOD_SECONDS"]);
    late.expect("ok", "token", &["lets it into store"]);
    let over = look(&sign(&claims(1, now() - 3_600), STRONG), &[]);
    over.expect("fail", "token", &["GRACE_PERIOD_EXPIRED", "Sign in again"]);
    let early = look(&sign(&claims(now() + 3_000, now() + 6_000), STRONG), &[]);
    early.expect("fail", "clock", &["in the future", "timedatectl"]);
    let another = sign(
        &claims(now(), now() + 900),
        "another-secret-of-more-than-32-bytes",
    );
    look(&another, &[]).expect("fail", "token", &["TOKEN_INVALID", "Compare the secret"]);
    look("no-token-at-all", &[]).expect("fail", "token", &["no JWT"]);
}
