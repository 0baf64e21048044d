//! How many files the process may have open.

/// Files that the process needs beside connections: media sockets, wake-ups, listeners, pages that are read.
pub(crate) const OTHER_FILES: u64 = 256;

/// Asks the system for as many open files as it gives, and warns if that is less than the bound on connections needs.
pub(crate) fn raise_file_limit(connections: u32) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let files = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    // No limit at all is none.
    if let Some(files) = files
        && files < u64::from(connections) + OTHER_FILES
    {
        tracing::warn!(
            files,
            connections,
            "the system allows fewer open files than limits.connections needs; raise LimitNOFILE or ulimit -n"
        );
    }
}
