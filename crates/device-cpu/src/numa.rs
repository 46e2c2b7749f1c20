//! NUMA nodes: which processors share a memory controller, and whether threads should keep to them.
//!
//! Key decision: a thread is bound to all processors of a node, never to one. That keeps it near its
//! memory, which is what counts, and lets the system move it out of the way of others within the node.
//!
//! A process that was given a part of a machine is not asked to know better than who divided it: in a
//! container, under a quota or with a narrowed mask, two processes of ours could bind themselves to the
//! same node while another is idle. There threads are bound only if the owner says so.

use std::path::Path;

use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};

use crate::available_threads;

/// What container runtimes leave in the root of what they run: Docker, Podman, Kubernetes.
const CONTAINER_MARKS: [&str; 3] = [".dockerenv", "run/.containerenv", "var/run/secrets/kubernetes.io"];

/// Nodes that threads are bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nodes {
    /// The processors of each; none if threads run wherever the system puts them.
    sets: Vec<CpuSet>,
}

impl Nodes {
    /// Threads run wherever the system puts them.
    pub const fn unbound() -> Nodes {
        Nodes { sets: Vec::new() }
    }

    /// The nodes of this machine, with those of their processors that this process may use. If there are
    /// fewer than two, or the system does not tell, there is nothing to bind threads to.
    pub fn of_this_process() -> Nodes {
        let Ok(mask) = sched_getaffinity(None) else { return Nodes::unbound() };
        Nodes::read(Path::new("/sys/devices/system/node"), &mask)
    }

    /// How many there are; 0 if threads are not bound.
    pub fn count(&self) -> usize {
        self.sets.len()
    }

    /// Those in a folder like Linux's `/sys/devices/system/node`, as far as `mask` reaches.
    fn read(folder: &Path, mask: &CpuSet) -> Nodes {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let number = |name: &str| name.strip_prefix("node")?.parse::<u32>().ok();
        let mut folders: Vec<_> =
            entries.filter_map(|entry| Some((number(entry.file_name().to_str()?)?, entry.path()))).collect();
        folders.sort();
        let sets: Option<Vec<CpuSet>> =
            folders.iter().map(|(_, path)| read_list(&path.join("cpulist"))).collect();
        let mut sets = sets.unwrap_or_default();
        for set in &mut sets {
            (0..CpuSet::MAX_CPU).filter(|&i| !mask.is_set(i)).for_each(|i| set.unset(i));
        }
        // Some have memory and no processors.
        sets.retain(|set| set.count() > 0);
        Nodes { sets: if sets.len() < 2 { Vec::new() } else { sets } }
    }

    /// Two nodes of one processor each that this process may use; of the same one, if there is no other.
    #[cfg(test)]
    pub(crate) fn two_fakes() -> Nodes {
        let mask = sched_getaffinity(None).unwrap();
        let processors: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|&i| mask.is_set(i)).collect();
        let sets = [processors[0], processors[processors.len() - 1]].map(|i| {
            let mut set = CpuSet::new();
            set.set(i);
            set
        });
        Nodes { sets: sets.into() }
    }

    /// The processors of one.
    #[cfg(test)]
    pub(crate) fn set(&self, node: usize) -> &CpuSet {
        &self.sets[node]
    }

    /// Processors of each node; where threads are not bound, one node in all.
    pub(crate) fn sizes(&self) -> Vec<usize> {
        match self.sets.len() {
            0 => vec![1],
            _ => self.sets.iter().map(|set| set.count() as usize).collect(),
        }
    }

    /// Binds this thread to a node. If the system refuses, it runs anywhere: slower at worst.
    pub(crate) fn bind(&self, node: usize) {
        if let Some(set) = self.sets.get(node) {
            let _ = sched_setaffinity(None, set);
        }
    }

    /// The node that this thread runs on at the moment.
    pub(crate) fn here(&self) -> usize {
        if self.sets.is_empty() {
            return 0;
        }
        let processor = sched_getcpu();
        self.sets.iter().position(|set| set.is_set(processor)).unwrap_or(0)
    }
}

/// Why threads should be left to the system on this machine, as the end of a sentence; nothing if it is all
/// this process's own.
pub fn confinement() -> Option<&'static str> {
    let mask = sched_getaffinity(None).unwrap_or_default();
    confinement_in(Path::new("/"), &mask, available_threads().get())
}

/// As [`confinement`], from the files below `root`, for a process that may use the processors of `mask`
/// and keep as many as `threads` of them busy.
fn confinement_in(root: &Path, mask: &CpuSet, threads: usize) -> Option<&'static str> {
    let allowed = mask.count() as usize;
    let online = read_list(&root.join("sys/devices/system/cpu/online")).map_or(0, |set| set.count() as usize);
    if CONTAINER_MARKS.iter().any(|mark| root.join(mark).exists()) {
        Some("this is a container")
    } else if threads < allowed {
        Some("its cgroup has a quota")
    } else if allowed < online {
        Some("it may not use all processors of the machine")
    } else {
        None
    }
}

/// A list of processors, e.g. `0-3,8`; `None` if the file is not there or holds anything else.
fn read_list(path: &Path) -> Option<CpuSet> {
    parse_list(&std::fs::read_to_string(path).ok()?)
}

fn parse_list(text: &str) -> Option<CpuSet> {
    let mut set = CpuSet::new();
    for range in text.trim().split(',').filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        if first > last || last >= CpuSet::MAX_CPU {
            return None;
        }
        (first..=last).for_each(|i| set.set(i));
    }
    Some(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(text: &str) -> CpuSet {
        parse_list(text).unwrap()
    }

    /// A folder with files of these names and contents.
    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = root.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn lists_are_read_as_linux_writes_them() {
        let members = |text| parse_list(text).map(|s| (0..1024).filter(|&i| s.is_set(i)).collect::<Vec<_>>());
        assert_eq!(members("0-3,8,10-11\n"), Some(vec![0, 1, 2, 3, 8, 10, 11]));
        assert_eq!(members("1023\n"), Some(vec![1023]));
        assert_eq!(members("\n"), Some(vec![]));
        for wrong in ["x", "1-", "3-1", "-1", "0-1024", "99999999999999999999", "0 1", "0-4294967295"] {
            assert_eq!(members(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn nodes_have_the_processors_that_this_process_may_use() {
        let all = [("node0/cpulist", "0-3\n"), ("node10/cpulist", "8-9\n"), ("node2/cpulist", "4-7\n")];
        let more = [("node3/cpulist", "\n"), ("online", "0-10\n"), ("nodes/cpulist", "nonsense")];
        let root = tree(&[&all[..], &more].concat());
        let read = |mask| Nodes::read(root.path(), &set(mask)).sets;
        assert_eq!(read("0-9"), [set("0-3"), set("4-7"), set("8-9")]);
        assert_eq!(read("2-5"), [set("2-3"), set("4-5")]);
        // One node is as good as none.
        assert_eq!(read("5-6"), []);
        assert_eq!(Nodes::read(&root.path().join("missing"), &set("0-9")), Nodes::unbound());
        let root = tree(&[&all[..], &[("node4/cpulist", "nonsense")]].concat());
        assert_eq!(Nodes::read(root.path(), &set("0-9")), Nodes::unbound());
    }

    #[test]
    fn whoever_has_a_part_of_a_machine_leaves_threads_to_the_system() {
        let online = ("sys/devices/system/cpu/online", "0-3\n");
        let whole = tree(&[online]);
        let of = |mask, threads| confinement_in(whole.path(), &set(mask), threads);
        assert_eq!(of("0-3", 4), None);
        assert_eq!(of("0-3", 3), Some("its cgroup has a quota"));
        assert_eq!(of("0-2", 3), Some("it may not use all processors of the machine"));
        for mark in CONTAINER_MARKS {
            let root = tree(&[online, (mark, "")]);
            assert_eq!(confinement_in(root.path(), &set("0-3"), 4), Some("this is a container"), "{mark}");
        }
    }

    #[test]
    fn this_machine_can_be_read() {
        let mask = sched_getaffinity(None).unwrap();
        let nodes = Nodes::of_this_process();
        assert!(nodes.sets.iter().all(|s| (0..1024).all(|i| mask.is_set(i) || !s.is_set(i))), "{nodes:?}");
        assert_ne!(nodes.count(), 1);
    }
}
