//! Addresses to listen on: takes one, or names the process that holds it.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};

/// The interval between attempts to take an address.
const TRY_EVERY: Duration = Duration::from_millis(50);

/// A service that listens, and the names of the option and the setting for its address.
#[derive(Clone, Copy, Debug)]
pub struct Service {
    /// Its name in messages.
    pub name: &'static str,
    /// The option that sets its port.
    pub option: &'static str,
    /// The setting that sets its address.
    pub setting: &'static str,
}

/// Listens on `addr`. If it is taken, tries again for as long as `patience` lasts.
///
/// # Errors
/// When it is still taken. The error names the program that holds it, where the system tells, and the option for another port.
pub async fn listen(addr: SocketAddr, service: Service, patience: Duration) -> anyhow::Result<TcpListener> {
    let deadline = tokio::time::Instant::now() + patience;
    let Service { name, option, setting } = service;
    loop {
        let error = match TcpListener::bind(addr) {
            Ok(listener) => return Ok(listener),
            Err(error) => error,
        };
        if error.kind() != ErrorKind::AddrInUse {
            return Err(error).with_context(|| format!("{name} is to listen on {addr} ({setting})"));
        }
        if tokio::time::Instant::now() >= deadline {
            let holder = holder(addr.port()).map_or_else(|| "another program".to_owned(), |it| it.to_string());
            let free = free_after(addr).map_or_else(|| format!("{option} PORT"), |port| format!("{option} {port}"));
            bail!(
                "{addr}, where {name} is to listen, is taken by {holder}: stop it, or move with {free} (or {setting})"
            );
        }
        tokio::time::sleep(TRY_EVERY).await;
    }
}

/// Returns the next free port after that of `addr`, if there is one.
fn free_after(addr: SocketAddr) -> Option<u16> {
    (addr.port().checked_add(1)?..=u16::MAX).find(|port| TcpListener::bind((addr.ip(), *port)).is_ok())
}

/// The process that listens on a port.
#[derive(Debug)]
struct Holder {
    command: String,
    pid: u32,
    is_up: bool,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { command, pid, is_up } = self;
        if *is_up {
            write!(formatter, "another `jobrun up` (process {pid})")
        } else {
            write!(formatter, "{command} (process {pid})")
        }
    }
}

/// Returns the process that listens on a port. Works on Linux only, for processes that this user may inspect.
fn holder(port: u16) -> Option<Holder> {
    let sockets: Vec<String> = listening_sockets(port).collect();
    let processes = fs::read_dir("/proc").ok()?.filter_map(Result::ok);
    let mut pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let pid = pids.find(|pid| has_open(*pid, &sockets).unwrap_or_default())?;
    let arguments = arguments(pid)?;
    let is_up = |arguments: &[String]| {
        arguments.first().is_some_and(|it| it == "jobrun") && arguments.contains(&"up".to_owned())
    };
    // A program that `jobrun up` started is stopped through its parent, so the parent is named.
    let parent = parent(pid).and_then(|parent| Some((parent, self::arguments(parent)?)));
    Some(match parent {
        _ if is_up(&arguments) => Holder { command: String::new(), pid, is_up: true },
        Some((parent, of_parent)) if is_up(&of_parent) => Holder { command: String::new(), pid: parent, is_up: true },
        _ => Holder { command: arguments.into_iter().next()?, pid, is_up: false },
    })
}

/// Returns the names of the sockets that listen on a port, as `/proc/PID/fd` shows them.
fn listening_sockets(port: u16) -> impl Iterator<Item = String> {
    const LISTENING: &str = "0A";
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].into_iter().filter_map(|table| fs::read_to_string(table).ok());
    let lines: Vec<String> = tables.flat_map(|table| table.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
    lines.into_iter().filter_map(move |line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let listens_here = fields.get(1)?.ends_with(&format!(":{port:04X}")) && *fields.get(3)? == LISTENING;
        listens_here.then(|| format!("socket:[{}]", fields.get(9).copied().unwrap_or_default()))
    })
}

fn has_open(pid: u32, sockets: &[String]) -> io::Result<bool> {
    let files = fs::read_dir(format!("/proc/{pid}/fd"))?.filter_map(Result::ok);
    let mut targets = files.filter_map(|file| fs::read_link(file.path()).ok());
    Ok(targets.any(|target| target.to_str().is_some_and(|target| sockets.iter().any(|socket| socket == target))))
}

/// Returns the arguments of a process. The first is its program, without the folder.
fn arguments(pid: u32) -> Option<Vec<String>> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let mut arguments: Vec<String> =
        line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect();
    let program = arguments.first_mut()?;
    *program = Path::new(program.as_str()).file_name()?.to_string_lossy().into_owned();
    Some(arguments)
}

fn parent(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}
