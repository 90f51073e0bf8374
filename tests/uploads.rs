//! Uploads and temporary files that nobody goes on with.

use std::fs;
use std::time::{Duration, SystemTime};

use crate::harness::{Project, Sandbox};

#[test]
fn f5_abandoned_uploads_expire_and_others_stay() {
    let sandbox = Sandbox::new();
    sandbox.write_project(&Project::new(), "1");
    sandbox.cairn(["build"]).ok();
    let uploads = sandbox.store().join("repos/hello/_uploads");
    fs::create_dir_all(&uploads).unwrap();
    let (old, new) = (uploads.join("0".repeat(32)), uploads.join("1".repeat(32)));
    for path in [&old, &new] {
        fs::write(path, b"half").unwrap();
    }
    let two_days_ago = SystemTime::now() - Duration::from_secs(48 * 3600);
    fs::File::options()
        .write(true)
        .open(&old)
        .unwrap()
        .set_modified(two_days_ago)
        .unwrap();
    let _server = sandbox.serve();
    assert!(!old.exists(), "an abandoned upload is still there");
    assert!(new.exists(), "an upload of a moment ago is gone");
}

#[test]
fn what_a_killed_build_left_is_removed_a_day_later() {
    let sandbox = Sandbox::new();
    sandbox.write_project(&Project::new(), "1");
    let scratch = sandbox.store().join("cache/scratch");
    fs::create_dir_all(&scratch).unwrap();
    let (old, new) = (scratch.join(".tmp-old"), scratch.join(".tmp-new"));
    for path in [&old, &new] {
        fs::write(path, b"half").unwrap();
    }
    let two_days_ago = SystemTime::now() - Duration::from_secs(48 * 3600);
    let file = fs::File::options().write(true).open(&old).unwrap();
    file.set_modified(two_days_ago).unwrap();
    sandbox.cairn(["build"]).ok();
    assert!(!old.exists(), "what a killed build left is still there");
    assert!(new.exists(), "a file that may be another build's is gone");
}
