//! What `.github/workflows/deploy.yml` runs, short of sending it anywhere.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use syncline_tests::npm;
use syncline_tests::profile::Profile;
use syncline_tests::workerd::{Storage, Worker};

/// The tests of this file.
pub fn trials() -> Vec<Trial> {
    vec![
        trial(
            "the_workflow_deploys_app_and_worker",
            deploys_app_and_worker,
        ),
        trial(
            "a_deployment_without_ids_says_what_to_do",
            refuses_without_ids,
        ),
    ]
}

fn trial(name: &str, run: fn() -> Result<()>) -> Trial {
    Trial::test(format!("deployment::{name}"), move || {
        run().map_err(|error| format!("{error:#}").into())
    })
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The workflow's commands, a line each.
fn commands() -> Result<Vec<String>> {
    let workflow = fs::read_to_string(root().join(".github/workflows/deploy.yml"))?;
    let lines = workflow.lines().filter_map(|line| {
        let line = line.trim_start();
        line.trim_start_matches("- ").strip_prefix("run: ")
    });
    Ok(lines.map(str::to_owned).collect())
}

/// Runs the workflow's command that deploys, with more arguments.
fn deploy(arguments: &[&str], variables: &[(&str, &str)]) -> Result<Output> {
    let commands = commands()?;
    let mut deploys = commands.iter().filter(|it| it.contains("deploy.mjs"));
    let words = deploys
        .next()
        .context("no command of the workflow deploys")?;
    ensure!(deploys.next().is_none(), "two commands deploy");
    let mut words = words.split(' ');
    let mut command = Command::new(words.next().context("a program")?);
    command
        .args(words)
        .args(arguments)
        .current_dir(root())
        .env_remove("CLOUDFLARE_API_TOKEN")
        .env_remove("CLOUDFLARE_ACCOUNT_ID")
        .env("WRANGLER_SEND_METRICS", "false")
        .env("CI", "true")
        .envs(variables.iter().copied());
    Ok(command.output()?)
}

fn deploys_app_and_worker() -> Result<()> {
    // The app, by the workflow's commands: `npm ci` and `npm run build`.
    npm::build(&root().join("tests/app"))?;
    for due in [
        "npm ci --prefix tests/app",
        "npm run build --prefix tests/app",
    ] {
        let commands = commands()?;
        ensure!(
            commands.iter().any(|it| it == due),
            "no `{due}` in {commands:?}"
        );
    }
    // What both bundle is made once: the servers' side by side with this.
    Worker::syncline(Storage::ObjectSqlite, Profile::Open)?;
    let out = tempfile::tempdir()?;
    let outdir = out.path().to_string_lossy().into_owned();
    let output = deploy(&["--", "--dry-run", "--outdir", &outdir], &[])?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{said}\n{complained}");
    for binding in [
        "env.ASSETS ",
        "env.IMAGES (",
        "env.QUOTAS (Quotas)",
        "env.WEBSOCKET_SERVER (WebSocketServer)",
        "env.WORKSPACE_CLAIMS_VERSION (",
        "env.DB (",
        "env.ENVIRONMENT (\"production\")",
    ] {
        ensure!(said.contains(binding), "no {binding} in:\n{said}");
    }
    let mut names = Vec::new();
    for entry in fs::read_dir(out.path())? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    let is_there = |end: &str| names.iter().any(|name| name.ends_with(end));
    ensure!(is_there("worker.js") && is_there(".wasm"), "{names:?}");

    let config = fs::read_to_string(root().join("target/deployment/wrangler.toml"))?;
    let config: toml::Value = toml::from_str(&config)?;
    let assets = &config["assets"];
    let dist = assets["directory"].as_str().context("a directory")?;
    ensure!(Path::new(dist).join("index.html").exists(), "{dist}");
    // Else files would answer sync's requests, and the navigations to images.
    ensure!(
        assets["run_worker_first"].as_bool() == Some(true),
        "{assets:?}"
    );
    ensure!(
        assets["html_handling"].as_str() == Some("none"),
        "{assets:?}"
    );
    ensure!(
        assets["not_found_handling"].as_str() == Some("none"),
        "{assets:?}"
    );
    Ok(())
}

fn refuses_without_ids() -> Result<()> {
    npm::build(&root().join("tests/app"))?;
    let refusal = |variables: &[(&str, &str)]| -> Result<String> {
        let output = deploy(&[], variables)?;
        ensure!(!output.status.success(), "it deploys");
        Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let said = refusal(&[])?;
    ensure!(said.contains("CLOUDFLARE_API_TOKEN is not set"), "{said}");
    let token = ("CLOUDFLARE_API_TOKEN", "canary-of-the-token");
    let said = refusal(&[token])?;
    ensure!(said.contains("CLOUDFLARE_ACCOUNT_ID is not set"), "{said}");
    let said = refusal(&[token, ("CLOUDFLARE_ACCOUNT_ID", "0")])?;
    ensure!(said.contains("wrangler.toml has no ids yet"), "{said}");
    ensure!(!said.contains("canary"), "{said}");
    Ok(())
}
