//! What a process takes of the machine, as `/proc` tells it (proc(5)).

use anyhow::{Context, Result};
use std::{fs, time::Duration};

/// Length of the unit in which `/proc` counts processor time, in ms: USER_HZ, which Linux
/// fixes at 100.
const TICK_MILLIS: u64 = 10;

/// KiB of memory the process has in RAM.
pub fn resident_kib(pid: u32) -> Result<u64> {
    let file = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&file).with_context(|| format!("cannot read {file}"))?;
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .with_context(|| format!("{file} has no VmRSS"))
}

/// Processor time of all threads of the process since it began, user and system.
pub fn cpu_time(pid: u32) -> Result<Duration> {
    let file = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&file).with_context(|| format!("cannot read {file}"))?;
    // The name, which may hold anything, ends with the last parenthesis; `utime` and `stime`
    // are the 14th and 15th field, and the state, right after the name, is the third.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: u64 = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(str::parse::<u64>)
        .sum::<Result<_, _>>()
        .with_context(|| format!("{file} is not understood"))?;
    Ok(Duration::from_millis(ticks * TICK_MILLIS))
}

/// How many files this process may have open.
pub fn open_files_max() -> Result<usize> {
    let limits =
        fs::read_to_string("/proc/self/limits").context("cannot read /proc/self/limits")?;
    limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .context("/proc/self/limits has no number of open files")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_takes_memory_and_time() {
        let pid = std::process::id();
        assert!(resident_kib(pid).unwrap() > 100);
        let before = cpu_time(pid).unwrap();
        let mut sum = 0_u64;
        while cpu_time(pid).unwrap() < before + Duration::from_millis(2 * TICK_MILLIS) {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(open_files_max().unwrap() > 10);
    }
}
