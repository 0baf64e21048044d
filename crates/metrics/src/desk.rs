//! Names for what the consultation counts.

use crate::families::Families;

/// What the consultation counts; absolute values since start unless a field says "now".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeskSnapshot {
    /// People in waiting rooms, now.
    pub waiting: u64,
    /// Appointments that run, now.
    pub running: u64,
    /// Admissions.
    pub admitted: u64,
}

/// Adds everything that the consultation counts.
pub(crate) fn add(families: &mut Families, snapshot: &DeskSnapshot) {
    // Taken apart, so that a new field without a metric does not compile.
    let DeskSnapshot {
        waiting,
        running,
        admitted,
    } = snapshot;
    families.gauge(
        "schalter_desk_people_waiting",
        "People in waiting rooms now.",
        *waiting as f64,
    );
    families.gauge(
        "schalter_desk_appointments_running",
        "Appointments now that somebody was admitted to and that have not ended.",
        *running as f64,
    );
    families.counter(
        "schalter_desk_admissions_total",
        "People admitted, officials who took their seat among them.",
        *admitted,
    );
}
