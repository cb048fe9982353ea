//! The real programs, as processes.
//!
//! Each is started with settings of its own, and stopped as an operator would stop it.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use jobrun_shared::config::SETTINGS;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::task::JoinHandle;

/// How long a program may take to finish its work in progress after SIGTERM.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the last lines of a program that has ended may take to be read.
const READ_WITHIN: Duration = Duration::from_secs(5);

/// The polling interval of conditions that send no notification.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// The range in which free ports are looked for, and the number of attempts.
const PORTS_FROM: u16 = 15_000;
const PORTS: u16 = 10_000;
const PORTS_TRIED: u16 = 1_000;

/// Variables in which cargo describes the package that it runs. A nested cargo that sees those of another package takes its own
/// artefacts for out of date, and builds them anew.
const OF_CARGO: [&str; 7] = [
    "CARGO_MANIFEST_DIR",
    "CARGO_MANIFEST_LINKS",
    "CARGO_PKG_NAME",
    "CARGO_PKG_VERSION_MAJOR",
    "CARGO_PKG_VERSION_MINOR",
    "CARGO_PKG_VERSION_PATCH",
    "CARGO_PKG_VERSION_PRE",
];

/// Settings, as environment variables.
pub type Environment = BTreeMap<String, String>;

/// The destination of a program's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lines {
    /// The output of this process.
    Shown,
    /// Memory, to be read with [`Program::lines`].
    Kept,
}

/// A running program. It is killed when dropped, and stops by itself when the process that started it is killed.
#[derive(Debug)]
pub struct Program {
    name: String,
    child: Child,
    // Open as long as this process lives: the program stops at the end of its standard input.
    _stdin: Option<ChildStdin>,
    lines: Arc<Mutex<Vec<String>>>,
    readers: Vec<JoinHandle<()>>,
}

/// Returns a port of 127.0.0.1 on which no process listens. It is below those that the system gives to outgoing connections,
/// because one of those could be taken again before it is used.
///
/// # Errors
/// When none is free.
pub fn free_port() -> anyhow::Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Other processes that search at the same time start at other ports.
    let first = u16::try_from(std::process::id() % 100).unwrap_or_default() * 100;
    (0..PORTS_TRIED)
        .map(|_| PORTS_FROM + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % PORTS)
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .with_context(|| format!("none of {PORTS_TRIED} ports from {PORTS_FROM} is free"))
}

/// Returns the folder of the programs: the one of the running program.
///
/// # Errors
/// When the path of the running program cannot be determined.
pub fn dir_of_this() -> anyhow::Result<PathBuf> {
    let this = std::env::current_exe().context("finding out where this program lies")?;
    Ok(this.parent().context("finding the folder of this program")?.to_owned())
}

/// Builds the programs if they are not in `dir`: `cargo run` builds only the one that it runs.
///
/// # Errors
/// When they are missing and cannot be built.
pub fn ensure_built(dir: &Path) -> anyhow::Result<()> {
    if ["jobrun-ingress", "jobrun-worker", "jobrun-console"].iter().all(|name| dir.join(name).is_file()) {
        return Ok(());
    }
    let not_there =
        || format!("jobrun-ingress, jobrun-worker and jobrun-console are not all in {}: put them there", dir.display());
    build(dir, None).with_context(not_there)
}

/// Brings the programs in `dir`, an output folder of cargo's, up to date. `beside` is the target of the caller's own build, such as
/// `--tests`: built together, both share their dependencies, which would otherwise be built anew.
///
/// # Errors
/// When they do not build.
pub fn build(dir: &Path, beside: Option<&str>) -> anyhow::Result<()> {
    let mut cargo = std::process::Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--workspace", "--bins"]).args(beside).current_dir(env!("CARGO_MANIFEST_DIR"));
    if dir.ends_with("release") {
        cargo.arg("--release");
    }
    for name in OF_CARGO {
        cargo.env_remove(name);
    }
    ensure!(cargo.status().context("starting cargo")?.success(), "the programs do not build");
    Ok(())
}

/// Returns the other variables that hold a setting of `environment`: its file, and its earlier name. A program takes a setting that is
/// set twice for a mistake, so it must not inherit them.
fn other_names(environment: &Environment) -> Vec<String> {
    let given = SETTINGS.iter().filter(|setting| environment.contains_key(setting.name));
    let others = given.flat_map(|setting| [setting.file_name(), setting.earlier_name.map(str::to_owned)]);
    others.flatten().filter(|name| !environment.contains_key(name)).collect()
}

impl Program {
    /// Starts the program `name` of the folder `dir`.
    ///
    /// # Errors
    /// When it is not there.
    pub fn start(dir: &Path, name: &str, environment: &Environment, lines: Lines) -> anyhow::Result<Self> {
        Self::start_with(dir, name, &[], environment, lines)
    }

    /// As [`Program::start`], with arguments.
    ///
    /// # Errors
    /// When it is not there.
    pub fn start_with(
        dir: &Path,
        name: &str,
        arguments: &[&str],
        environment: &Environment,
        lines: Lines,
    ) -> anyhow::Result<Self> {
        let mut command = Command::new(dir.join(name));
        command.args(arguments).envs(environment).stdin(Stdio::piped()).kill_on_drop(true);
        for name in other_names(environment) {
            command.env_remove(name);
        }
        command.env("STOP_WITH_STDIN", "true");
        // In a process group of its own, a Ctrl-C does not reach it: its starter stops programs in its own order.
        command.process_group(0);
        if lines == Lines::Kept {
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
        }
        let mut child = command.spawn().with_context(|| format!("starting {}", dir.join(name).display()))?;
        let kept = Arc::new(Mutex::new(Vec::new()));
        let readers =
            [keep(child.stdout.take(), &kept), keep(child.stderr.take(), &kept)].into_iter().flatten().collect();
        // Taken out of the child, because `wait` would close it.
        let stdin = child.stdin.take();
        Ok(Self { name: name.to_owned(), child, _stdin: stdin, lines: kept, readers })
    }

    /// Returns the process id, until the end of the program has been noticed.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Returns the lines that it has printed so far.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until it has printed a line that contains `text`.
    ///
    /// # Errors
    /// When it ends before, or `timeout` passes.
    pub async fn wait_for_line(&mut self, text: &str, timeout: Duration) -> anyhow::Result<()> {
        let deadline = tokio::time::Instant::now() + timeout;
        while !self.lines().iter().any(|line| line.contains(text)) {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended with {status}: {}", self.name, self.lines().join("\n"));
            }
            if tokio::time::Instant::now() > deadline {
                bail!("{} has not printed {text:?} in {timeout:?}: {}", self.name, self.lines().join("\n"));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Waits until it has ended and its lines are read.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub async fn wait(&mut self) -> anyhow::Result<ExitStatus> {
        let status = self.child.wait().await.with_context(|| format!("waiting for {}", self.name))?;
        self.read_the_rest().await;
        Ok(status)
    }

    /// Reads the remaining lines for a limited time: a process that the program started may still hold its output open.
    async fn read_the_rest(&mut self) {
        for reader in self.readers.drain(..) {
            let _ = tokio::time::timeout(READ_WITHIN, reader).await;
        }
    }

    /// Kills it with SIGKILL, which it cannot handle.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill().await.with_context(|| format!("killing {}", self.name))
    }

    /// Asks it to stop, with SIGTERM, and waits until it has finished its work in progress and ended.
    ///
    /// # Errors
    /// When it does not stop in time.
    pub async fn stop(&mut self) -> anyhow::Result<ExitStatus> {
        if let Some(pid) = self.pid() {
            // It may have ended by itself.
            let _ = Command::new("kill").args(["-TERM", &pid.to_string()]).stderr(Stdio::null()).status().await?;
        }
        match tokio::time::timeout(STOP_TIMEOUT, self.child.wait()).await {
            Ok(status) => {
                self.read_the_rest().await;
                Ok(status?)
            }
            Err(_) => bail!("{} did not stop within {STOP_TIMEOUT:?}", self.name),
        }
    }
}

fn keep(
    output: Option<impl AsyncRead + Unpin + Send + 'static>,
    kept: &Arc<Mutex<Vec<String>>>,
) -> Option<JoinHandle<()>> {
    let output = output?;
    let kept = Arc::clone(kept);
    Some(tokio::spawn(async move {
        let mut lines = BufReader::new(output).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            kept.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
    }))
}

/// Waits until `url` responds with a success status.
///
/// # Errors
/// When it has not after `timeout`.
pub async fn wait_until_ready(url: &str, timeout: Duration) -> anyhow::Result<()> {
    jobrun_twilio::api::use_tls_provider();
    let http = reqwest::Client::builder().timeout(Duration::from_secs(2)).build()?;
    let deadline = tokio::time::Instant::now() + timeout;
    loop {
        let answer = http.get(url).send().await;
        if answer.as_ref().is_ok_and(|response| response.status().is_success()) {
            return Ok(());
        }
        if tokio::time::Instant::now() > deadline {
            bail!("{url} is not ready after {timeout:?}: {answer:?}");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
