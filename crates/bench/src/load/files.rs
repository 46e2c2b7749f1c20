//! Room for connections in this process' table of files, made before anything is measured.
//!
//! The kernel lets the table grow when a file is opened that it has no place for, and whoever opens it then waits
//! until all processors have noticed (`synchronize_rcu`): ten milliseconds in the middle of a run, in which no token
//! is read. And many systems allow a process a thousand files unless it asks for more.

/// Files that are open beside connections, at most.
#[cfg(target_os = "linux")]
const OTHERS: u64 = 64;

/// Makes room for as many connections, or as many as the system allows: those that find none say so one by one.
#[cfg(target_os = "linux")]
pub(super) fn make_room(connections: usize) {
    use nix::fcntl::{FcntlArg, fcntl};
    use nix::sys::resource::{Resource, getrlimit, setrlimit};

    let Ok((mut soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return };
    let wanted = connections as u64 + OTHERS;
    if wanted > soft && setrlimit(Resource::RLIMIT_NOFILE, wanted.min(hard), hard).is_ok() {
        soft = wanted.min(hard);
    }
    // A file of that number, and the table has grown.
    let last = i32::try_from(wanted.min(soft).saturating_sub(1)).unwrap_or(i32::MAX);
    if let Ok(copy) = fcntl(std::io::stderr(), FcntlArg::F_DUPFD_CLOEXEC(last)) {
        let _ = nix::unistd::close(copy); // it was there for its number
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn make_room(_: usize) {}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_files_has_room_before_files_are_opened() {
        let size = || {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let line = status.lines().find_map(|l| l.strip_prefix("FDSize:")).unwrap();
            line.trim().parse::<usize>().unwrap()
        };
        let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
        let before = open();
        make_room(900);
        assert!(size() >= 900, "{}", size());
        assert!(open() <= before + 20, "it is left empty"); // other tests open files, too
        let (soft, hard) =
            nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).unwrap();
        assert!(soft >= 900.min(hard));
    }
}
