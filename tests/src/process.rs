//! Processes under test, each in a session of its own. So it is a process
//! group, which is ended as a whole: wrangler leaves children. And where
//! autogroups are on, Linux shares the cores out among sessions first: a
//! server does not have its clients wait for a core because it has more
//! threads than they.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// A running process, killed with its group when dropped.
pub struct Process {
    child: Child,
    lines: Mutex<Receiver<String>>,
}

impl Process {
    /// Starts it, with its stdout read line by line.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(command: Command) -> Result<Self> {
        Self::start_with(command, None)
    }

    /// Starts it, and appends what it writes to this file, stderr too.
    ///
    /// # Errors
    /// When it cannot be started, or the file cannot be written.
    pub fn start_logged(mut command: Command, log: &Path) -> Result<Self> {
        let log = File::options().create(true).append(true).open(log)?;
        command.stderr(log.try_clone()?);
        Self::start_with(command, Some(log))
    }

    fn start_with(mut command: Command, mut log: Option<File>) -> Result<Self> {
        // SAFETY: setsid(2) is one of the calls that are safe between fork and
        // exec, and nothing else happens there.
        unsafe {
            command.pre_exec(|| Ok(rustix::process::setsid().map(drop)?));
        }
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        let stdout = child.stdout.take().context("stdout is piped")?;
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if let Some(log) = &mut log {
                    let _ = writeln!(log, "{line}");
                }
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self {
            child,
            lines: Mutex::new(lines),
        })
    }

    /// The first line of stdout that `find` makes something of.
    ///
    /// # Errors
    /// When there is none in time, or the process ends.
    pub fn wait_for<T>(
        &mut self,
        timeout: Duration,
        find: impl Fn(&str) -> Option<T>,
    ) -> Result<T> {
        let deadline = Instant::now() + timeout;
        let mut seen = String::new();
        let lines = self.lines.get_mut().unwrap_or_else(PoisonError::into_inner);
        while let Ok(line) = lines.recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            if let Some(found) = find(&line) {
                return Ok(found);
            }
            seen.push_str(&line);
            seen.push('\n');
        }
        bail!("the process did not print what was waited for, but:\n{seen}")
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it keeps in memory, in megabytes.
    ///
    /// # Errors
    /// When `ps` cannot tell.
    pub fn megabytes(&self) -> Result<u64> {
        let output = Command::new("ps")
            .args(["-o", "rss=", "-p", &self.id().to_string()])
            .output()
            .context("ps")?;
        let kilobytes: u64 = String::from_utf8(output.stdout)?.trim().parse()?;
        Ok(kilobytes / 1024)
    }

    /// Its stdin, if the command pipes it, to be taken once.
    pub fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// Sends a signal to the process alone: `TERM`, `KILL`, …
    pub fn signal(&self, name: &str) {
        signal(name, &self.child.id().to_string());
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it does not come in time.
    pub fn wait(&mut self, timeout: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!("the process did not end in {timeout:?}");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Kills it with SIGKILL and waits until it is gone.
    ///
    /// # Errors
    /// When it does not go.
    pub fn kill(&mut self) -> Result<()> {
        // Not by the `kill` command: where the moment matters, starting one
        // takes too long.
        self.child.kill()?;
        self.killed()
    }

    /// The same with all that it has started.
    ///
    /// # Errors
    /// When it does not go.
    pub fn kill_group(&mut self) -> Result<()> {
        signal("KILL", &format!("-{}", self.child.id()));
        self.killed()
    }

    fn killed(&mut self) -> Result<()> {
        let status = self.wait(Duration::from_secs(10))?;
        assert!(status.signal().is_some(), "it was killed: {status}");
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        signal("KILL", &format!("-{}", self.child.id()));
        let _ = self.child.wait();
    }
}

fn signal(name: &str, target: &str) {
    let _ = Command::new("kill")
        .args(["-s", name, "--", target])
        .stderr(Stdio::null())
        .status();
}
