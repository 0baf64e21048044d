//! Which core a worker stays on.

use std::io;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Keeps the calling thread on the `index`th of the cores that it may use (wrapping around), so that a container's or
/// operator's own restriction stays respected. Returns the core.
pub(crate) fn pin_current_thread(index: usize) -> io::Result<usize> {
    let allowed = sched_getaffinity(None)?;
    let core = nth_core(&allowed, index)
        .ok_or_else(|| io::Error::other("the process may use no core at all"))?;
    let mut only = CpuSet::new();
    only.set(core);
    sched_setaffinity(None, &only)?;
    Ok(core)
}

fn nth_core(allowed: &CpuSet, index: usize) -> Option<usize> {
    let count = allowed.count() as usize;
    let wanted = index.checked_rem(count)?;
    (0..CpuSet::MAX_CPU)
        .filter(|core| allowed.is_set(*core))
        .nth(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_counted_among_the_allowed_ones_and_wrap_around() {
        let mut allowed = CpuSet::new();
        for core in [2, 3, 7] {
            allowed.set(core);
        }
        let chosen: Vec<_> = (0..5).map(|i| nth_core(&allowed, i)).collect();
        assert_eq!(chosen, [Some(2), Some(3), Some(7), Some(2), Some(3)]);
        assert_eq!(nth_core(&CpuSet::new(), 0), None);
    }
}
