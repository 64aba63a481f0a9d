//! npm packages of the tests, installed from their lock files.

use std::fs;
use std::path::Path;
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
    let output = Command::new("npm")
        .arg("ci")
        .current_dir(dir)
        .output()
        .context("npm is needed for these tests: install Node 20 or later")?;
    if !output.status.success() {
        bail!(
            "npm ci failed in {}:\n{}",
            dir.display(),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    fs::write(stamp, lock)?;
    Ok(())
}
