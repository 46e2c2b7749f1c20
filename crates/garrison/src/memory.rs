//! How much memory this process may still use: what the machine has free, or the container allows.

use std::fs;
use std::path::Path;

/// Bytes that can be allocated before something else suffers; `None` where nothing tells.
pub(crate) fn available() -> Option<u64> {
    let machine = meminfo(&fs::read_to_string("/proc/meminfo").ok()?)?;
    Some(cgroup(Path::new("/sys/fs/cgroup")).map_or(machine, |left| left.min(machine)))
}

fn meminfo(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|l| l.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// What is left under the limit of a version 2 or version 1 memory cgroup, as a container sees it.
fn cgroup(root: &Path) -> Option<u64> {
    let read = |name: &str| fs::read_to_string(root.join(name)).ok()?.trim().parse::<u64>().ok();
    let (limit, used) = match (read("memory.max"), read("memory.current")) {
        (Some(limit), Some(used)) => (limit, used),
        _ => (read("memory/memory.limit_in_bytes")?, read("memory/memory.usage_in_bytes")?),
    };
    Some(limit.saturating_sub(used))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_free_memory_is_read() {
        assert_eq!(meminfo("MemTotal: 9 kB\nMemAvailable:   24 kB\n"), Some(24 * 1024));
        assert_eq!(meminfo("MemTotal: 9 kB\n"), None);
        assert_eq!(meminfo("MemAvailable: x kB\n"), None);
    }

    #[test]
    fn a_containers_limit_counts() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(cgroup(dir.path()), None);
        fs::write(dir.path().join("memory.current"), "30\n").unwrap();
        fs::write(dir.path().join("memory.max"), "max\n").unwrap();
        assert_eq!(cgroup(dir.path()), None, "no limit");
        fs::write(dir.path().join("memory.max"), "100\n").unwrap();
        assert_eq!(cgroup(dir.path()), Some(70));
    }
}
