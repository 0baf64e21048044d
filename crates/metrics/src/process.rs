//! The process itself, as `/proc` and the clock tell it, under the names that Prometheus client libraries share.

use std::fs;

use rustix::param::clock_ticks_per_second;
use rustix::time::{ClockId, clock_gettime};

use crate::families::Families;

/// Adds what can be read; a value that can't (no `/proc` in a sandbox) is left out, not made up.
pub(crate) fn add(families: &mut Families) {
    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    families.counters(
        "process_cpu_seconds_total",
        "Total user and system CPU time spent in seconds.",
        [(
            &[] as &[(&str, &str)],
            cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9,
        )],
    );
    let gauges = [
        (
            "process_resident_memory_bytes",
            "Resident memory size in bytes.",
            status_kib("VmRSS:").map(|kib| kib * 1024.0),
        ),
        (
            "process_virtual_memory_bytes",
            "Virtual memory size in bytes.",
            status_kib("VmSize:").map(|kib| kib * 1024.0),
        ),
        (
            "process_open_fds",
            "Number of open file descriptors.",
            open_descriptors(),
        ),
        (
            "process_max_fds",
            "Maximum number of open file descriptors.",
            max_descriptors(),
        ),
        (
            "process_start_time_seconds",
            "Start time of the process since unix epoch in seconds.",
            start_time(),
        ),
    ];
    for (name, help, value) in gauges {
        if let Some(value) = value {
            families.gauge(name, help, value);
        }
    }
}

/// A line of `/proc/self/status` that is counted in KiB.
fn status_kib(key: &str) -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}

fn open_descriptors() -> Option<f64> {
    // The listing holds one descriptor itself.
    let listed = fs::read_dir("/proc/self/fd").ok()?.count();
    Some(listed.saturating_sub(1) as f64)
}

fn max_descriptors() -> Option<f64> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit.current.map(|limit| limit as f64)
}

/// Boot time plus the ticks from boot to start (proc_pid_stat(5), field 22).
fn start_time() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the name in parentheses, which may contain spaces and parentheses.
    let after_name = &stat[stat.rfind(')')? + 1..];
    let ticks: f64 = after_name.split_whitespace().nth(19)?.parse().ok()?;
    let system = fs::read_to_string("/proc/stat").ok()?;
    let boot: f64 = system
        .lines()
        .find_map(|line| line.strip_prefix("btime "))?
        .trim()
        .parse()
        .ok()?;
    Some(boot + ticks / clock_ticks_per_second() as f64)
}

#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::*;

    #[test]
    fn start_time_lies_shortly_before_now() {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs_f64();
        let age = now - start_time().unwrap();
        // Boot time is given in whole seconds, and the machine's clock may have been set since.
        assert!((-5.0..3_600.0).contains(&age), "{age} s");
    }

    #[test]
    fn an_opened_file_shows_in_the_count_of_descriptors() {
        let held: Vec<_> = (0..50)
            .map(|_| fs::File::open("/dev/null").unwrap())
            .collect();
        assert!(open_descriptors().unwrap() >= held.len() as f64);
        assert!(max_descriptors().unwrap() >= open_descriptors().unwrap());
        assert!(status_kib("VmRSS:").unwrap() > 100.0);
    }
}
