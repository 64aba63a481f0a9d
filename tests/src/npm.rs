//! npm packages of the tests, installed from their lock files.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail};

/// `npm ci`, unless what is installed is what the lock file says.
///
/// # Errors
/// When npm or Node is missing or fails.
pub fn install(dir: &Path) -> Result<()> {
    // One at a time: scenarios start their servers side by side.
    static INSTALLING: Mutex<()> = Mutex::new(());
    let _one = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    let lock = fs::read(dir.join("package-lock.json"))?;
    let stamp = dir.join("node_modules/.syncline-installed");
    if fs::read(&stamp).is_ok_and(|installed| installed == lock) {
        return Ok(());
    }
    npm(dir, &["ci"])?;
    fs::write(stamp, lock)?;
    Ok(())
}

/// `npm run build`, unless `dist` was made of the same; the path of `dist`.
///
/// # Errors
/// When npm or Node is missing or fails.
pub fn build(dir: &Path) -> Result<PathBuf> {
    static BUILDING: Mutex<()> = Mutex::new(());
    let _one = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
    install(dir)?;
    let dist = dir.join("dist");
    let stamp = dir.join("node_modules/.syncline-built");
    let mut hasher = DefaultHasher::new();
    hash_files(dir, &mut hasher)?;
    let made_of = format!("{:016x}", hasher.finish());
    let is_there = dist.join("index.html").exists();
    if is_there && fs::read_to_string(&stamp).is_ok_and(|it| it == made_of) {
        return Ok(dist);
    }
    npm(dir, &["run", "build"])?;
    fs::write(stamp, made_of)?;
    Ok(dist)
}

/// What a build is made of: all but what is installed, what it makes, and the
/// program that looks at that.
fn hash_files(dir: &Path, hasher: &mut impl Hasher) -> Result<()> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(dir)? {
        entries.push(entry?.path());
    }
    entries.sort();
    for entry in entries {
        let is_other = |name: &&str| entry.ends_with(name);
        if ["node_modules", "dist", "browser"].iter().any(is_other) {
            continue;
        }
        if entry.is_dir() {
            hash_files(&entry, hasher)?;
        } else {
            entry.file_name().hash(hasher);
            fs::read(entry)?.hash(hasher);
        }
    }
    Ok(())
}

fn npm(dir: &Path, arguments: &[&str]) -> Result<()> {
    let output = Command::new("npm")
        .args(arguments)
        .current_dir(dir)
        .output()
        .context("npm is needed for these tests: install Node 20.19 or later")?;
    if !output.status.success() {
        bail!(
            "npm {} failed in {}:\n{}{}",
            arguments.join(" "),
            dir.display(),
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}
