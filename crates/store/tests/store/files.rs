//! The writer of files, as the rest of the workspace uses it.

#![expect(
    clippy::disallowed_methods,
    reason = "prepares what the writer of files finds"
)]

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

use cairn_store::files::{self, Lock, PRIVATE, PUBLIC};

use crate::writers::list;

const UMASK_PLACE: &str = "CAIRN_TEST_UMASK_PLACE";

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_file_is_written_whole_with_its_directories() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("a/b/c.txt");
    files::write(&path, b"one", PUBLIC).unwrap();
    files::write(&path, b"two", PRIVATE).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"two");
    assert_eq!(mode(&path), 0o600);
    assert_eq!(list(path.parent().unwrap()), ["c.txt"]);
    assert!(files::remove(&path).unwrap());
    assert!(!files::remove(&path).unwrap());
}

#[test]
fn a_failed_write_leaves_the_old_file_and_nothing_else() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("taken");
    fs::create_dir_all(path.join("in use")).unwrap();
    let error = files::write(&path, b"x", PUBLIC).unwrap_err();
    assert_eq!(
        (error.action, error.path.as_path()),
        ("rename a new file to", path.as_path())
    );
    assert_eq!(list(place.path()), ["taken"]);
}

/// Runs in a process of its own: see [`modes_do_not_depend_on_the_umask`].
#[test]
fn child_writes_under_a_umask() {
    let Some(place) = std::env::var_os(UMASK_PLACE) else {
        return;
    };
    let place = Path::new(&place);
    files::write(&place.join("made/public"), b"", PUBLIC).unwrap();
    files::write(&place.join("made/private"), b"", PRIVATE).unwrap();
    assert!(files::create(&place.join("made/created"), b"", PUBLIC).unwrap());
    let mut file = files::temporary(&place.join("made")).unwrap();
    file.append(b"x").unwrap();
    assert_eq!(
        mode(file.path()) & 0o077,
        0,
        "a file that is not complete can be read by others"
    );
    file.publish(&place.join("made/pieces"), PUBLIC).unwrap();
}

#[test]
fn modes_do_not_depend_on_the_umask() {
    for umask in ["0000", "0022", "0077"] {
        let place = tempfile::tempdir().unwrap();
        let status = Command::new("sh")
            .args(["-c", &format!("umask {umask}; exec \"$0\" \"$@\"")])
            .arg(std::env::current_exe().unwrap())
            .args(["files::child_writes_under_a_umask", "--exact"])
            .env(UMASK_PLACE, place.path())
            .output()
            .unwrap();
        assert!(status.status.success(), "{status:?}");
        let made = place.path().join("made");
        for (name, expected) in [
            ("public", 0o644),
            ("private", 0o600),
            ("created", 0o644),
            ("pieces", 0o644),
        ] {
            assert_eq!(mode(&made.join(name)), expected, "{name} under the umask {umask}");
        }
        assert_eq!(
            mode(&made) & 0o022,
            0,
            "others may write to a directory made under the umask {umask}"
        );
    }
}

#[test]
fn of_many_creators_one_succeeds_and_its_file_stays() {
    let place = tempfile::tempdir().unwrap();
    let path = Arc::new(place.path().join("once"));
    let barrier = Arc::new(Barrier::new(16));
    let creators: Vec<_> = (0..16_u8)
        .map(|number| {
            let (path, barrier) = (Arc::clone(&path), Arc::clone(&barrier));
            thread::spawn(move || {
                barrier.wait();
                files::create(&path, &[number], PUBLIC).unwrap().then_some(number)
            })
        })
        .collect();
    let winners: Vec<u8> = creators
        .into_iter()
        .filter_map(|creator| creator.join().unwrap())
        .collect();
    assert_eq!(winners.len(), 1);
    assert_eq!(fs::read(&*path).unwrap(), winners);
    assert_eq!(list(place.path()), ["once"]);
}

#[test]
fn a_temporary_file_is_published_or_gone() {
    let place = tempfile::tempdir().unwrap();
    let mut dropped = files::temporary(place.path()).unwrap();
    dropped.append(b"never seen").unwrap();
    drop(dropped);
    assert_eq!(list(place.path()), Vec::<String>::new());
    let mut kept = files::temporary(place.path()).unwrap();
    kept.write_all(b"pieces ").unwrap();
    kept.append(b"of it").unwrap();
    assert_eq!(fs::read(kept.path()).unwrap(), b"pieces of it");
    kept.publish(&place.path().join("kept"), PUBLIC).unwrap();
    let second = files::temporary(place.path()).unwrap();
    assert!(!second.publish_new(&place.path().join("kept"), PUBLIC).unwrap());
    assert_eq!(fs::read(place.path().join("kept")).unwrap(), b"pieces of it");
    assert_eq!(list(place.path()), ["kept"]);
}

#[test]
fn an_exclusive_lock_excludes_threads_too() {
    let place = tempfile::tempdir().unwrap();
    let path = Arc::new(place.path().join("lock"));
    let (inside, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let holders: Vec<_> = (0..8)
        .map(|_| {
            let (path, inside, most) = (Arc::clone(&path), Arc::clone(&inside), Arc::clone(&most));
            thread::spawn(move || {
                for _ in 0..50 {
                    let _lock = Lock::exclusive(&path).unwrap();
                    most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    thread::yield_now();
                    inside.fetch_sub(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    holders.into_iter().for_each(|holder| holder.join().unwrap());
    assert_eq!(most.load(Ordering::SeqCst), 1);
}

#[test]
fn shared_locks_are_shared() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("lock");
    let first = Lock::shared(&path).unwrap();
    let second = Lock::shared(&path).unwrap();
    drop((first, second));
    drop(Lock::exclusive(&path).unwrap());
}

/// Who waited for a lock on a file that was replaced meanwhile must lock the new one, or two would hold "the" lock.
#[test]
fn a_lock_on_a_replaced_file_is_taken_again() {
    let place = tempfile::tempdir().unwrap();
    let (path, other) = (place.path().join("lock"), place.path().join("other"));
    let old = Lock::exclusive(&path).unwrap();
    let new = Lock::exclusive(&other).unwrap();
    let released = Arc::new(AtomicBool::new(false));
    let waiter = {
        let (path, released) = (path.clone(), Arc::clone(&released));
        thread::spawn(move || {
            let _lock = Lock::exclusive(&path).unwrap();
            released.load(Ordering::SeqCst)
        })
    };
    if !until_locked_out(&waiter, path.metadata().unwrap().ino()) {
        println!("skipped: this kernel does not show who waits for a lock");
        return;
    }
    let inode = other.metadata().unwrap().ino();
    fs::rename(&other, &path).unwrap();
    drop(old);
    until_locked_out(&waiter, inode);
    released.store(true, Ordering::SeqCst);
    drop(new);
    assert!(
        waiter.join().unwrap(),
        "a lock on the replaced file was taken for the lock"
    );
}

/// Returns once the thread waits for a lock on the inode, or has ended; `false` if the kernel does not list locks.
fn until_locked_out(waiter: &thread::JoinHandle<bool>, inode: u64) -> bool {
    let inode = format!(":{inode} ");
    loop {
        let Ok(locks) = fs::read_to_string("/proc/locks") else {
            return false;
        };
        let mut ours = locks.lines().filter(|line| line.contains(&inode)).peekable();
        if ours.peek().is_none() {
            return false;
        }
        if waiter.is_finished() || ours.any(|line| line.contains("->")) {
            return true;
        }
        thread::yield_now();
    }
}

#[test]
fn a_file_from_another_file_system_is_copied_and_verified() {
    let (Ok(elsewhere), Ok(place)) = (tempfile::tempdir_in("/dev/shm"), tempfile::tempdir()) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let store = cairn_store::Directory::open(place.path().join("store")).unwrap();
    let repository = store.open_repository(&"team/web".parse().unwrap());
    let content = b"far away".repeat(1000);
    let digest = cairn_oci::Digest::of(&content);
    for wrong in [true, false] {
        let mut file = files::temporary(elsewhere.path()).unwrap();
        file.append(if wrong { b"other" } else { &content }).unwrap();
        let written = runtime.block_on(cairn_store::Repository::write_spooled(&repository, &digest, file));
        assert_eq!(written.is_err(), wrong, "{written:?}");
    }
    let names = fs::read_dir(elsewhere.path()).unwrap();
    assert_eq!(names.count(), 0, "the file is still there");
}
