//! Workers under bare workerd: bundled by wrangler as for a deploy, then
//! served without `wrangler dev`, whose proxy and instrumentation would be
//! measured too.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use syncline_tests::process::Process;
use tempfile::TempDir;

use crate::servers::Running;

const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// A Worker to run.
pub struct Worker {
    /// The folder of its `wrangler.toml`.
    pub dir: PathBuf,
    /// The `node_modules` that hold wrangler and workerd.
    pub node_modules: PathBuf,
    /// Text bindings that replace or join those of `[vars]`.
    pub variables: &'static [(&'static str, &'static str)],
}

/// A Worker that is bundled.
pub struct Bundle {
    worker: Worker,
    config: WranglerConfig,
    modules: Vec<Module>,
    /// Holds `out`, the modules.
    dir: TempDir,
}

impl Worker {
    /// Bundles it.
    ///
    /// # Errors
    /// When it cannot be bundled.
    pub fn bundle(self) -> Result<Bundle> {
        let config = WranglerConfig::read(&self.dir.join("wrangler.toml"))?;
        let dir = tempfile::tempdir()?;
        let out = dir.path().join("out");
        self.run_wrangler(&out, dir.path())?;
        Ok(Bundle {
            modules: modules(&out, &config.main)?,
            worker: self,
            config,
            dir,
        })
    }

    fn run_wrangler(&self, out: &Path, state: &Path) -> Result<()> {
        let wrangler = self.node_modules.join(".bin/wrangler");
        ensure!(wrangler.exists(), "{} is missing", wrangler.display());
        let output = Command::new(&wrangler)
            .args(["deploy", "--dry-run", "--outdir"])
            .arg(out)
            .current_dir(&self.dir)
            .env("CI", "1")
            .env("WRANGLER_SEND_METRICS", "false")
            .env("WRANGLER_HIDE_BANNER", "true")
            .env("WRANGLER_LOG_PATH", state.join("logs"))
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("cannot run {}", wrangler.display()))?;
        ensure!(
            output.status.success(),
            "wrangler does not bundle {}:\n{}{}",
            self.dir.display(),
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }
}

impl Bundle {
    /// Starts it, with fresh storage.
    ///
    /// # Errors
    /// When it does not get ready.
    pub fn start(&self) -> Result<Running> {
        let workerd = workerd(&self.worker.node_modules)?;
        let dir = tempfile::tempdir()?;
        let storage = dir.path().join("storage");
        fs::create_dir(&storage)?;
        // Beside `out`: modules are embedded by paths from here.
        let file = self.dir.path().join("config.capnp");
        fs::write(&file, self.capnp(&storage)?)?;
        let log = dir.path().join("workerd.log");
        let mut command = Command::new(workerd);
        command
            .args(["serve", "--control-fd=1"])
            .arg(&file)
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stderr(fs::File::create(&log)?);
        let mut process = Process::start(command)?;
        let port = process
            .wait_for(READY_TIMEOUT, |line| {
                let message: ControlMessage = serde_json::from_str(line).ok()?;
                (message.event == "listen").then_some(message.port)
            })
            .with_context(|| {
                let log = fs::read_to_string(&log).unwrap_or_default();
                format!("workerd does not serve:\n{log}")
            })?;
        Ok(Running::new(
            format!("http://127.0.0.1:{port}"),
            process,
            dir,
        ))
    }

    fn capnp(&self, storage: &Path) -> Result<String> {
        let config = &self.config;
        let storage = storage
            .to_str()
            .context("the temporary directory's name is not UTF-8")?;
        let objects = &config.durable_objects.bindings;
        let mut text = format!(
            r#"using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    (name = "main", worker = .worker),
    (name = "storage", disk = (path = {}, writable = true)),
  ],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "main")],
);

const worker :Workerd.Worker = (
  compatibilityDate = {},
  compatibilityFlags = {},
  durableObjectStorage = (localDisk = "storage"),
"#,
            quoted(storage),
            quoted(&config.compatibility_date),
            list(config.compatibility_flags.iter().map(|flag| quoted(flag))),
        );
        let modules = self.modules.iter().map(|module| {
            let kind = module.kind;
            let name = quoted(&module.name);
            let file = quoted(&format!("out/{}", module.name));
            format!("(name = {name}, {kind} = embed {file})")
        });
        writeln!(text, "  modules = {},", list(modules))?;
        let namespaces = objects.iter().map(|object| {
            let class = quoted(&object.class_name);
            format!("(className = {class}, uniqueKey = {class}, enableSql = true)")
        });
        writeln!(text, "  durableObjectNamespaces = {},", list(namespaces))?;
        let objects = objects.iter().map(|object| {
            let (name, class) = (quoted(&object.name), quoted(&object.class_name));
            format!("(name = {name}, durableObjectNamespace = {class})")
        });
        let variables = self.worker.variables;
        let replaced = |name: &str| variables.iter().any(|(it, _)| *it == name);
        let kept = config
            .vars
            .iter()
            .filter(|(name, _)| !replaced(name))
            .map(|(name, value)| {
                let name = quoted(name);
                match value.as_str() {
                    Some(text) => format!("(name = {name}, text = {})", quoted(text)),
                    None => format!("(name = {name}, json = {})", quoted(&value.to_string())),
                }
            });
        let replacements = variables
            .iter()
            .map(|(name, value)| format!("(name = {}, text = {})", quoted(name), quoted(value)));
        let bindings = objects.chain(kept).chain(replacements);
        writeln!(text, "  bindings = {},\n);", list(bindings))?;
        Ok(text)
    }
}

/// What is read of a `wrangler.toml`. What a Worker has beside these (KV, D1,
/// routes) it has to be able to do without.
#[derive(Deserialize)]
struct WranglerConfig {
    main: String,
    compatibility_date: String,
    #[serde(default)]
    compatibility_flags: Vec<String>,
    #[serde(default)]
    durable_objects: DurableObjects,
    #[serde(default)]
    vars: serde_json::Map<String, serde_json::Value>,
}

#[derive(Default, Deserialize)]
struct DurableObjects {
    #[serde(default)]
    bindings: Vec<DurableObject>,
}

#[derive(Deserialize)]
struct DurableObject {
    name: String,
    class_name: String,
}

impl WranglerConfig {
    fn read(file: &Path) -> Result<Self> {
        let text =
            fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        toml::from_str(&text).with_context(|| format!("cannot use {}", file.display()))
    }
}

/// What workerd writes to its control descriptor.
#[derive(Deserialize)]
struct ControlMessage {
    event: String,
    port: u16,
}

struct Module {
    /// Its path in the bundle, which is what the JavaScript imports it as.
    name: String,
    /// The field of workerd's `Worker.Module`.
    kind: &'static str,
}

/// The modules of a bundle, the entry point first: workerd runs that one.
fn modules(out: &Path, main: &str) -> Result<Vec<Module>> {
    let mut names = Vec::new();
    collect(out, "", &mut names)?;
    names.sort();
    let stem = Path::new(main)
        .file_stem()
        .with_context(|| format!("`main` names no file: {main}"))?;
    let entry = Path::new(stem).with_extension("js");
    let mut modules = Vec::new();
    for name in names {
        let kind = match Path::new(&name).extension().and_then(|it| it.to_str()) {
            Some("js" | "mjs") => "esModule",
            Some("wasm") => "wasm",
            Some("bin") => "data",
            Some("txt" | "html" | "sql") => "text",
            // Source maps and wrangler's readme.
            _ => continue,
        };
        modules.push(Module { name, kind });
    }
    let Some(at) = modules.iter().position(|it| Path::new(&it.name) == entry) else {
        let names: Vec<&str> = modules.iter().map(|it| it.name.as_str()).collect();
        bail!("the bundle has no {}, but {names:?}", entry.display());
    };
    modules.swap(0, at);
    Ok(modules)
}

fn collect(dir: &Path, prefix: &str, names: &mut Vec<String>) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry
            .file_name()
            .into_string()
            .map_err(|name| anyhow::anyhow!("a module's name is not UTF-8: {name:?}"))?;
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), &format!("{prefix}{name}/"), names)?;
        } else {
            names.push(format!("{prefix}{name}"));
        }
    }
    Ok(())
}

/// The binary itself: npm's `workerd` is a script around it, which would stay
/// as a process between.
fn workerd(node_modules: &Path) -> Result<PathBuf> {
    let platform = match (std::env::consts::OS, std::env::consts::ARCH) {
        ("linux", "x86_64") => "linux-64",
        ("linux", "aarch64") => "linux-arm64",
        ("macos", "x86_64") => "darwin-64",
        ("macos", "aarch64") => "darwin-arm64",
        (os, arch) => bail!("there is no workerd for {os} on {arch}"),
    };
    let file = node_modules.join(format!("@cloudflare/workerd-{platform}/bin/workerd"));
    ensure!(file.exists(), "{} is missing", file.display());
    Ok(file)
}

/// A list in Cap'n Proto's text form.
fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

/// Text in Cap'n Proto's text form.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for char in text.chars() {
        match char {
            '"' | '\\' => quoted.extend(['\\', char]),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            _ => quoted.push(char),
        }
    }
    quoted.push('"');
    quoted
}
