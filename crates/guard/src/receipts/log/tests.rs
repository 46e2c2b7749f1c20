//! What a log survives, and what it refuses.

use super::super::disk::Step;
use super::super::disk::order::taken;
use super::super::{Verdict, verify};
use super::*;

fn key() -> SigningKey {
    SigningKey::from_seed([3; 32])
}

fn decision() -> Decision {
    Decision {
        verdict: Verdict::Cleared,
        detectors: vec!["patterns/1".into()],
        tier: "remote/m".into(),
        digest: [1; 32],
    }
}

fn open(path: &Path, max_lines: u64) -> Result<ReceiptLog, ReceiptError> {
    ReceiptLog::open(LogConfig { max_lines, ..LogConfig::new(path.to_owned()) }, key())
}

/// A log of so many receipts.
fn written(path: &Path, receipts: u64) -> ReceiptLog {
    let mut log = open(path, 100).unwrap();
    for id in 0..receipts {
        assert_eq!(log.record(decision()).unwrap(), id);
    }
    log
}

#[test]
fn a_log_that_waits_for_no_disk_is_as_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("receipts.jsonl");
    let config = LogConfig { durability: Durability::Kill, max_lines: 9, ..LogConfig::new(path.clone()) };
    let mut log = ReceiptLog::open(config.clone(), key()).unwrap();
    for id in 0..14 {
        assert_eq!(log.record(decision()).unwrap(), id);
    }
    // What is killed now leaves a head that is behind, and what is checked meanwhile has one as well.
    let copy = tempfile::tempdir().unwrap();
    let copied = copy.path().join("receipts.jsonl");
    fs::copy(&path, &copied).unwrap();
    fs::copy(head_path(&path), head_path(&copied)).unwrap();
    let report = verify(&copied, Some(key().public())).unwrap();
    assert_eq!((report.receipts, report.next_id), (5, 14));
    drop(log);
    let head = read_head(Role::Open, &head_path(&path), Some(key().public())).unwrap();
    assert_eq!((head.lines, head.next), (5, 14), "it catches up when it is closed");
    let mut log = ReceiptLog::open(config, key()).unwrap();
    assert_eq!(log.record(decision()).unwrap(), 14);
    log.follower.as_ref().unwrap().fail_for_test();
    assert!(matches!(log.record(decision()), Err(ReceiptError::Stuck)), "a sync has failed");
}

#[test]
fn the_head_is_never_further_behind_than_may_be() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("receipts.jsonl");
    let config = LogConfig { durability: Durability::Kill, ..LogConfig::new(path.clone()) };
    let mut log = ReceiptLog::open(config, key()).unwrap();
    for _ in 0..3 * MAX_AHEAD / MAX_BATCH {
        let batch = (0..MAX_BATCH).map(|_| decision()).collect();
        let first = log.record_all(batch).unwrap();
        let head = read_head(Role::Open, &head_path(&path), Some(key().public())).unwrap();
        assert!(first + MAX_BATCH - head.next < MAX_AHEAD, "{first} and {head:?}");
    }
    // And soon it is not behind at all.
    let tells =
        || read_head(Role::Open, &head_path(&path), Some(key().public())).unwrap().next == 3 * MAX_AHEAD;
    let until = std::time::Instant::now() + Duration::from_secs(30);
    while !tells() {
        assert!(std::time::Instant::now() < until);
        std::thread::sleep(SOON / 10);
    }
}

#[test]
fn a_log_goes_on_wherever_it_was_killed_between_two_files() {
    for step in 0..4 {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("receipts.jsonl");
        let mut log = written(&path, 3);
        let old_head = fs::read(head_path(&path)).unwrap();
        log.rotate().unwrap();
        drop(log);
        let closed = numbered(&path, 2);
        match step {
            0 => fs::rename(&closed, &path).unwrap(),
            1 | 2 => fs::remove_file(&path).unwrap(),
            _ => {}
        }
        if step < 2 {
            fs::write(head_path(&path), &old_head).unwrap();
        }
        let mut log = open(&path, 3).unwrap();
        assert_eq!(log.record(decision()).unwrap(), 3, "killed after step {step}");
        let first = verify(&closed, Some(key().public())).unwrap();
        let second = verify(&path, Some(key().public())).unwrap();
        assert_eq!((first.receipts, second.receipts), (3, 1));
        assert_eq!(second.first_previous, first.last);
    }
}

#[test]
fn a_log_that_is_gone_is_not_begun_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("receipts.jsonl");
    let gone = || matches!(open(&path, 3), Err(ReceiptError::Gone { .. }));
    drop(written(&path, 2));
    let kept = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    assert!(gone(), "its head is there");
    fs::write(&path, kept).unwrap();
    let mut log = open(&path, 2).unwrap();
    log.record(decision()).unwrap();
    drop(log);
    fs::remove_file(&path).unwrap();
    assert!(gone(), "a receipt that the head tells of is gone");
    fs::remove_file(head_path(&path)).unwrap();
    assert!(gone(), "a closed file is there");
    fs::remove_file(numbered(&path, 1)).unwrap();
    assert!(open(&path, 3).is_ok());
    // A head of another key.
    fs::remove_file(&path).unwrap();
    let head = Head { lines: 0, next: 0, last: beginning() };
    write_head(Role::Open, &path, &SigningKey::from_seed([4; 32]), &head).unwrap();
    assert!(gone());
}

#[test]
fn a_file_that_is_in_the_way_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("receipts.jsonl");
    let mut log = open(&path, 2).unwrap();
    log.record(decision()).unwrap();
    log.record(decision()).unwrap();
    fs::write(numbered(&path, 1), "older").unwrap();
    assert!(matches!(log.record(decision()), Err(ReceiptError::File { .. })));
    assert!(matches!(log.record(decision()), Err(ReceiptError::Stuck)));
    assert_eq!(fs::read_to_string(numbered(&path, 1)).unwrap(), "older");
    assert_eq!(verify(&path, Some(key().public())).unwrap().receipts, 2);
}

#[test]
fn a_line_that_was_torn_is_dropped_and_only_where_the_head_knows_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("receipts.jsonl");
    drop(written(&path, 3));
    let (good, head) = (fs::read_to_string(&path).unwrap(), fs::read(head_path(&path)).unwrap());
    let first = good.find('\n').unwrap();
    // The very first line, before any head told of it.
    let start = tempfile::tempdir().unwrap();
    let begun = start.path().join("receipts.jsonl");
    drop(open(&begun, 100).unwrap());
    fs::write(&begun, &good[..first / 2]).unwrap();
    assert_eq!(open(&begun, 100).unwrap().record(decision()).unwrap(), 0);
    // A later one.
    fs::write(&path, format!("{good}{}", &good[..first / 2])).unwrap();
    assert_eq!(open(&path, 100).unwrap().record(decision()).unwrap(), 3);
    // One that the head knows was whole.
    fs::write(&path, &good[..good.len() - 2]).unwrap();
    fs::write(head_path(&path), &head).unwrap();
    assert!(matches!(open(&path, 100), Err(ReceiptError::Broken { .. })));
    assert_eq!(fs::read_to_string(&path).unwrap(), good[..good.len() - 2]);
}

#[test]
fn the_head_of_another_log_hides_no_cut() {
    let folder = tempfile::tempdir().unwrap();
    let (path, other) = (folder.path().join("a"), folder.path().join("b"));
    drop(written(&path, 5));
    let lines = fs::read_to_string(&path).unwrap();
    let cut: String = lines.split_inclusive('\n').take(3).collect();
    fs::write(&path, cut).unwrap();
    for receipts in 0..4 {
        drop(written(&other, receipts));
        fs::copy(head_path(&other), head_path(&path)).unwrap();
        fs::remove_file(&other).unwrap();
        fs::remove_file(head_path(&other)).unwrap();
        // The beginning of every log is the same.
        let held = verify(&path, Some(key().public()));
        assert_eq!(held.is_ok(), receipts == 0, "{held:?}");
    }
}

#[test]
fn two_cannot_write_one_log_and_the_second_is_told_who_has_it() {
    for durability in [Durability::Power, Durability::Kill] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("receipts.jsonl");
        let config = LogConfig { durability, ..LogConfig::new(path.clone()) };
        let mut first = ReceiptLog::open(config.clone(), key()).unwrap();
        assert_eq!(first.record(decision()).unwrap(), 0);
        // The middle of a line that the first is writing.
        let written = fs::read(&path).unwrap();
        fs::write(&path, [&written[..], b"{\"body\":"].concat()).unwrap();
        let refused = ReceiptLog::open(config.clone(), key()).unwrap_err();
        assert!(matches!(refused, ReceiptError::InUse { .. }), "{refused}");
        let said = refused.to_string();
        for part in
            [&*path.display().to_string(), &format!("process {}", std::process::id()), "stop that one"]
        {
            assert!(said.contains(part), "{said}");
        }
        assert_ne!(fs::read(&path).unwrap(), written, "the second has cut off what the first writes");
        fs::write(&path, written).unwrap();
        // Whoever only checks it needs no lock.
        assert_eq!(verify(&path, Some(key().public())).unwrap().receipts, 1);
        drop(first);
        assert_eq!(ReceiptLog::open(config, key()).unwrap().record(decision()).unwrap(), 1);
    }
}

#[test]
fn a_lock_that_names_nobody_is_one_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("receipts.jsonl");
    let log = open(&path, 9).unwrap();
    fs::write(folder.path().join("receipts.jsonl.lock"), "?").unwrap();
    let said = open(&path, 9).unwrap_err().to_string();
    assert!(said.contains("another process"), "{said}");
    drop(log);
    assert!(open(&path, 9).is_ok());
}

#[test]
fn names_and_heads_are_on_the_disk_before_what_builds_on_them() {
    use Step::{ContentSynced, NamesSynced, Opened, Renamed};
    let folder = tempfile::tempdir().unwrap();
    let head = [ContentSynced, Renamed];
    taken();
    let mut log = open(&folder.path().join("receipts.jsonl"), 2).unwrap();
    assert_eq!(taken(), [&head[..], &[NamesSynced, Opened, NamesSynced]].concat());
    log.record(decision()).unwrap();
    assert_eq!(taken(), head);
    log.record(decision()).unwrap();
    taken();
    log.record(decision()).unwrap();
    let closed = [&head[..], &[NamesSynced, Renamed, NamesSynced]].concat();
    let begun = [&head[..], &[NamesSynced, Opened, NamesSynced], &head].concat();
    assert_eq!(taken(), [closed, begun].concat());
}
