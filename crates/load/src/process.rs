//! What processes of this machine cost, read from `/proc`.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use crate::error::LoadError;

/// Keeps the calling thread on one core.
///
/// # Errors
/// [`LoadError::Io`].
pub fn pin_to(core: usize) -> Result<(), LoadError> {
    let mut cores = rustix::thread::CpuSet::new();
    cores.set(core);
    rustix::thread::sched_setaffinity(None, &cores)
        .map_err(|error| LoadError::io(format!("pinning to core {core}"), error.into()))
}

/// Keeps every thread of another process on one core; threads that it makes later inherit that.
///
/// # Errors
/// [`LoadError::Io`] when the process is gone or not ours.
pub fn pin_process(pid: u32, core: usize) -> Result<(), LoadError> {
    let mut cores = rustix::thread::CpuSet::new();
    cores.set(core);
    for thread in threads(pid) {
        let thread = i32::try_from(thread)
            .ok()
            .and_then(rustix::thread::Pid::from_raw);
        rustix::thread::sched_setaffinity(thread, &cores).map_err(|error| {
            LoadError::io(
                format!("pinning process {pid} to core {core}"),
                error.into(),
            )
        })?;
    }
    Ok(())
}

fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

fn numbers_in(dir: &str) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect()
}

fn threads(pid: u32) -> Vec<u32> {
    numbers_in(&format!("/proc/{pid}/task"))
}

/// A process and everything that it started, as far as it still runs.
fn family(pid: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = numbers_in("/proc")
        .into_iter()
        .filter_map(|pid| Some((pid, parent(&read(&format!("/proc/{pid}/stat"))?)?)))
        .collect();
    let mut found = vec![pid];
    let mut next = 0;
    while let Some(&of) = found.get(next) {
        found.extend(
            parents
                .iter()
                .filter(|(_, parent)| *parent == of)
                .map(|(pid, _)| *pid),
        );
        next += 1;
    }
    found
}

/// Fourth field of `/proc/<pid>/stat`; the second is a name that may hold anything.
fn parent(stat: &str) -> Option<u32> {
    stat.rsplit_once(')')?
        .1
        .split_ascii_whitespace()
        .nth(1)?
        .parse()
        .ok()
}

/// First field of `schedstat`: time on a core, ns, kernel included.
fn on_core(schedstat: &str) -> Option<u64> {
    schedstat.split_ascii_whitespace().next()?.parse().ok()
}

/// Time on a core of every thread of a process and its descendants, to the nanosecond.
#[derive(Clone, Debug, Default)]
pub struct CpuTime {
    threads: HashMap<u32, u64>,
}

impl CpuTime {
    /// Of a process and all that it started.
    pub fn of(pid: u32) -> Self {
        let threads = family(pid)
            .into_iter()
            .flat_map(threads_of_process)
            .collect();
        Self { threads }
    }

    /// What passed since `earlier`. A thread that has ended in between is not counted; servers keep theirs.
    pub fn since(&self, earlier: &Self) -> Duration {
        let nanos = self
            .threads
            .iter()
            .map(|(thread, now)| {
                now.saturating_sub(earlier.threads.get(thread).copied().unwrap_or(0))
            })
            .sum();
        Duration::from_nanos(nanos)
    }
}

fn threads_of_process(pid: u32) -> Vec<(u32, u64)> {
    threads(pid)
        .into_iter()
        .filter_map(|tid| {
            Some((
                tid,
                on_core(&read(&format!("/proc/{pid}/task/{tid}/schedstat"))?)?,
            ))
        })
        .collect()
}

/// Resident memory in bytes, of a process and all that it started; 0 if it is gone.
pub fn resident(pid: u32) -> u64 {
    family(pid)
        .into_iter()
        .filter_map(|pid| resident_of(&read(&format!("/proc/{pid}/status"))?))
        .sum()
}

fn resident_of(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1_024)
}

/// Time that each core was idle, from `/proc/stat`, in ticks.
fn idle_ticks(stat: &str) -> Option<(u64, usize)> {
    let all: Vec<u64> = stat
        .lines()
        .next()?
        .strip_prefix("cpu ")?
        .split_ascii_whitespace()
        .map_while(|field| field.parse().ok())
        .collect();
    let cores = stat
        .lines()
        .filter(|l| l.starts_with("cpu") && !l.starts_with("cpu "))
        .count();
    // user nice system idle iowait irq softirq steal
    Some((all.get(3)? + all.get(4)?, cores))
}

/// Ticks per second of `/proc/stat` (`USER_HZ`), the same on every Linux that Rust runs on.
const TICKS_PER_SECOND: u64 = 100;

/// A moment in the life of server, generator and machine.
#[derive(Clone, Debug)]
pub struct Snapshot {
    at: Instant,
    server: CpuTime,
    own: CpuTime,
    own_threads: HashSet<u32>,
    idle: u64,
    cores: usize,
    resident: u64,
}

/// What server, generator and everybody else used between two moments.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Usage {
    /// Between the two.
    pub elapsed: Duration,
    /// CPU of the server with all that it started.
    pub server: Duration,
    /// CPU of the generator.
    pub generator: Duration,
    /// Share of the machine that neither used, of all its cores: 0 to 1.
    pub foreign: f64,
    /// Cores of the machine.
    pub cores: usize,
    /// The server's resident memory at the end, bytes.
    pub resident: u64,
}

impl Snapshot {
    /// Now.
    pub fn take(server: u32) -> Self {
        let own: Vec<(u32, u64)> = threads_of_process(std::process::id());
        let (idle, cores) = read("/proc/stat")
            .as_deref()
            .and_then(idle_ticks)
            .unwrap_or((0, 1));
        Self {
            at: Instant::now(),
            server: CpuTime::of(server),
            own_threads: own.iter().map(|(tid, _)| *tid).collect(),
            own: CpuTime {
                threads: own.into_iter().collect(),
            },
            idle,
            cores,
            resident: resident(server),
        }
    }

    /// What was used since `earlier`.
    pub fn since(&self, earlier: &Self) -> Usage {
        let elapsed = self.at - earlier.at;
        // The server may be our child: then it is in no other place than here either.
        debug_assert!(
            self.own_threads
                .is_disjoint(&self.server.threads.keys().copied().collect())
        );
        let server = self.server.since(&earlier.server);
        let generator = self.own.since(&earlier.own);
        let idle = (self.idle - earlier.idle) as f64 / TICKS_PER_SECOND as f64;
        let whole = elapsed.as_secs_f64() * self.cores as f64;
        let foreign = whole - idle - server.as_secs_f64() - generator.as_secs_f64();
        Usage {
            elapsed,
            server,
            generator,
            foreign: (foreign / whole).clamp(0.0, 1.0),
            cores: self.cores,
            resident: self.resident,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_whatever_the_process_is_called() {
        assert_eq!(parent("42 (a) b (c)) S 7 42 42 0"), Some(7));
        assert_eq!(on_core("123456 78 9\n"), Some(123_456));
        assert_eq!(resident_of("Name:\tx\nVmRSS:\t   2048 kB\n"), Some(2 << 20));
        let stat = "cpu  1 2 3 400 50 6 7 8 0 0\ncpu0 1 1 1 200 25 3 3 4 0 0\ncpu1 0 1 2 200 25 3 4 4 0 0\nintr 5\n";
        assert_eq!(idle_ticks(stat), Some((450, 2)));
    }

    #[test]
    fn the_own_work_is_counted() {
        let pid = std::process::id();
        let before = CpuTime::of(pid);
        let start = Instant::now();
        let mut work = 0u64;
        while start.elapsed() < Duration::from_millis(30) {
            work = std::hint::black_box(work.wrapping_add(1));
        }
        let used = CpuTime::of(pid).since(&before);
        assert!(used > Duration::ZERO, "{used:?}");
        assert!(resident(pid) > 1 << 20);
    }

    #[test]
    fn a_process_that_is_gone_costs_nothing() {
        // PIDs end at 2^22.
        assert_eq!(resident(u32::MAX), 0);
        assert_eq!(
            CpuTime::of(u32::MAX).since(&CpuTime::default()),
            Duration::ZERO
        );
    }
}
