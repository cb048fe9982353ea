//! Processor time and memory of processes, as Linux reports them. On other systems, the functions return `None`.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

/// The unit of processor times in /proc (`USER_HZ`), the same on every machine.
const TICKS_PER_SECOND: u64 = 100;

/// Fields of /proc/PID/stat.
struct Stat {
    parent: u32,
    /// Ticks of the process itself.
    own: u64,
    /// Ticks of its children that have ended.
    of_ended_children: u64,
}

fn stat(pid: u32) -> Option<Stat> {
    let line = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The program's name comes before these fields, in parentheses, and may contain any character.
    let fields: Vec<&str> = line.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |field: usize| fields.get(field)?.parse::<u64>().ok();
    Some(Stat {
        parent: fields.get(1)?.parse().ok()?,
        own: ticks(11)? + ticks(12)?,
        of_ended_children: ticks(13)? + ticks(14)?,
    })
}

fn as_duration(ticks: u64) -> Duration {
    Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND)
}

/// Returns the processor time that a process has used, without its children.
pub(crate) fn cpu_of(pid: u32) -> Option<Duration> {
    stat(pid).map(|stat| as_duration(stat.own))
}

/// Returns the processor time that a process and its descendants have used, ended ones included.
pub(crate) fn cpu_of_tree(root: u32) -> Option<Duration> {
    let all: HashMap<u32, Stat> = fs::read_dir("/proc")
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, stat(pid)?)))
        .collect();
    all.get(&root)?;
    let is_below = |pid: u32| {
        let mut chain = std::iter::successors(Some(pid), |pid| all.get(pid).map(|stat| stat.parent));
        chain.any(|ancestor| ancestor == root)
    };
    let of_tree = all.iter().filter(|(pid, _)| is_below(**pid));
    Some(as_duration(of_tree.map(|(_, stat)| stat.own + stat.of_ended_children).sum()))
}

/// Resident memory, in megabytes.
#[derive(Clone, Copy)]
pub(crate) struct Memory {
    pub(crate) now: f64,
    pub(crate) peak: f64,
}

pub(crate) fn memory_of(pid: u32) -> Option<Memory> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let megabytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.split_whitespace().next()?.parse::<f64>().ok()? / 1024.0)
    };
    Some(Memory { now: megabytes("VmRSS:")?, peak: megabytes("VmHWM:")? })
}
