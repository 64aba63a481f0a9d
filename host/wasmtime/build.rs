//! Builds the guest component, so that `cargo run` is all it takes, and
//! compiles it, so that a server need not when it starts. Both are embedded in
//! the binary (`src/component/code.rs`).

#[path = "src/component/engine.rs"]
mod engine;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, exit};

const TARGET: &str = "wasm32-wasip2";

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for input in [
        "guest/src",
        "guest/Cargo.toml",
        "wit",
        "Cargo.toml",
        "Cargo.lock",
    ] {
        println!("cargo:rerun-if-changed={}", root.join(input).display());
    }
    ensure_target();

    // A target directory of its own: the outer cargo holds the lock of the
    // workspace's.
    let out_dir = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    let target_dir = out_dir
        .ancestors()
        .find(|dir| dir.file_name().is_some_and(|name| name == "target"))
        .map_or_else(|| out_dir.join("guest"), |target| target.join("guest"));

    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .current_dir(&root)
        .args(["build", "--package", "syncline-guest", "--lib"])
        .args(["--target", TARGET, "--profile", "guest", "--locked"])
        .arg("--target-dir")
        .arg(&target_dir)
        // What the outer cargo set for the host does not hold for wasm.
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("RUSTFLAGS")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env_remove("CLIPPY_ARGS")
        .status();
    if !status.is_ok_and(|status| status.success()) {
        fail("the guest component did not build; cargo's messages above say why");
    }
    let component = target_dir
        .join(TARGET)
        .join("guest")
        .join("syncline_guest.wasm");
    println!("cargo:rustc-env=SYNCLINE_COMPONENT={}", component.display());

    let target = env::var("TARGET").unwrap_or_default();
    println!("cargo:rustc-env=SYNCLINE_TARGET={target}");
    let ready = out_dir.join("component.ready");
    if let Err(error) = fs::write(&ready, compile(&component, &target)) {
        fail(&format!("cannot write {}: {error}", ready.display()));
    }
    println!(
        "cargo:rustc-env=SYNCLINE_COMPONENT_READY={}",
        ready.display()
    );
}

/// The component's machine code, for any CPU of the target: a binary may run
/// on an older one than this machine's. Nothing where the compiler that is in
/// here knows no such target, as when the build is for another architecture.
fn compile(component: &Path, target: &str) -> Vec<u8> {
    let mut config = engine::config();
    // Named, even if it is this machine: extensions of this CPU are not used.
    let engine = config
        .target(target)
        .and_then(|config| wasmtime::Engine::new(config));
    let engine = match engine {
        Ok(engine) => engine,
        Err(error) => {
            println!("cargo::warning=the component is compiled at each start: {error:#}");
            return Vec::new();
        }
    };
    let compiled = fs::read(component)
        .map_err(wasmtime::Error::from)
        .and_then(|component| engine.precompile_component(&component));
    match compiled {
        Ok(compiled) => compiled,
        Err(error) => fail(&format!("the component does not compile: {error:#}")),
    }
}

/// Adds the wasm target where rustup can, and says what to run where not.
fn ensure_target() {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let installed = Command::new(rustc)
        .args(["--print", "target-libdir", "--target", TARGET])
        .output()
        .is_ok_and(|output| {
            let dir = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            output.status.success() && Path::new(&dir).is_dir()
        });
    if installed {
        return;
    }
    let added = Command::new("rustup")
        .args(["target", "add", TARGET])
        .status()
        .is_ok_and(|status| status.success());
    if !added {
        fail("the Rust target wasm32-wasip2 is missing; run: rustup target add wasm32-wasip2");
    }
}

fn fail(message: &str) -> ! {
    println!("cargo::error={message}");
    exit(1);
}
