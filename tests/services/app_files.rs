//! An app's files, as a bundler leaves them, and what else may lie there.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::Result;
use tempfile::TempDir;

use crate::stage::Host;

/// What `index.html` holds, and nothing else.
pub const INDEX: &str = "<!doctype html><title>The app of the tests</title>";

/// What is in files that nobody may read.
pub const CANARY: &str = "canary-of-a-file-that-nobody-may-read";

/// A script whose name has its hash.
pub const SCRIPT: &str = "assets/index-BxY3kd9Q.js";

/// What [`SCRIPT`] holds: long enough that ranges of it mean something.
pub fn script() -> String {
    (0..2_000).map(|number| format!("f({number});\n")).collect()
}

/// Files, each with its content and the type that it is of.
pub const FILES: [(&str, &str, &str); 9] = [
    ("assets/style-Ab12cdE9.css", "p { color: red }", "text/css"),
    (
        "favicon.svg",
        "<svg xmlns=\"http://www.w3.org/2000/svg\"/>",
        "image/svg+xml",
    ),
    ("robots.txt", "User-agent: *\n", "text/plain"),
    ("data.json", "{}", "application/json"),
    ("app.wasm", "\0asm\x01\0\0\0", "application/wasm"),
    (
        "manifest.webmanifest",
        "{\"name\":\"x\"}",
        "application/manifest+json",
    ),
    ("fonts/a.woff2", "wOF2", "font/woff2"),
    (
        "pages/about.html",
        "<!doctype html><title>About</title>",
        "text/html",
    ),
    ("a file.txt", "spaces", "text/plain"),
];

/// Files where the server has paths of its own, each with [`CANARY`] in it.
pub const RESERVED: [&str; 8] = [
    "healthz",
    "metrics",
    "readyz",
    "admin/index.html",
    "api/images/covers/x.png",
    "api/other.html",
    "v1/models",
    "v1/index.html",
];

/// What the precompressed files hold: nobody here unpacks them.
pub const BROTLI: &str = "the script, as Brotli";

/// The same as gzip.
pub const GZIP: &str = "the script, as gzip";

/// The directory, with links in it where the host reads it while it serves. On
/// Workers, what the bundler left there is what is deployed.
pub fn directory(host: Host) -> Result<&'static Path> {
    static DIRECTORIES: [OnceLock<(TempDir, PathBuf)>; 2] = [const { OnceLock::new() }; 2];
    let slot = match host {
        Host::Wasmtime => &DIRECTORIES[0],
        Host::Workerd => &DIRECTORIES[1],
    };
    if slot.get().is_none() {
        let dir = tempfile::tempdir()?;
        let files = dir.path().join("dist");
        write_all(dir.path(), &files, host == Host::Wasmtime)?;
        let _ = slot.set((dir, files));
    }
    Ok(&slot.get().expect("it was just set").1)
}

fn write_all(outside: &Path, dir: &Path, has_links: bool) -> Result<()> {
    let write = |path: PathBuf, text: &str| -> Result<()> {
        fs::create_dir_all(path.parent().expect("a directory"))?;
        Ok(fs::write(path, text)?)
    };
    write(dir.join("index.html"), INDEX)?;
    write(dir.join(SCRIPT), &script())?;
    for (name, text, _) in FILES {
        write(dir.join(name), text)?;
    }
    for name in RESERVED
        .into_iter()
        .chain([".env", ".git/config", "assets/.hidden"])
    {
        write(dir.join(name), CANARY)?;
    }
    write(outside.join("secret.txt"), CANARY)?;
    write(outside.join("dist-secret/secret.txt"), CANARY)?;
    if has_links {
        write(dir.join(format!("{SCRIPT}.br")), BROTLI)?;
        write(dir.join(format!("{SCRIPT}.gz")), GZIP)?;
        symlink("../secret.txt", dir.join("link.txt"))?;
        symlink(outside.join("dist-secret"), dir.join("linked"))?;
        symlink("loop.txt", dir.join("loop.txt"))?;
        symlink(outside.join("secret.txt"), dir.join("robots.txt.gz"))?;
    }
    Ok(())
}
