//! What the process holds: memory, threads, files.

use std::fmt;

/// A look at the process.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Held {
    pub(crate) rss_bytes: u64,
    pub(crate) threads: usize,
    pub(crate) files: usize,
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = self.rss_bytes as f64 / f64::from(1 << 20);
        write!(
            f,
            "{mib:.1} MiB, {} threads, {} files",
            self.threads, self.files
        )
    }
}

/// Reads `/proc/self`.
pub(crate) fn held() -> Held {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let rss_kib: u64 = rss.unwrap().trim().trim_end_matches(" kB").parse().unwrap();
    let count = |dir: &str| std::fs::read_dir(dir).unwrap().count();
    Held {
        rss_bytes: rss_kib << 10,
        threads: count("/proc/self/task"),
        // The directory that is being read is one of them.
        files: count("/proc/self/fd") - 1,
    }
}
