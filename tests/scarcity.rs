//! Too few files, no room, a disk that cannot be written, nobody who listens: said clearly, and nothing lost.

use std::fs::{self, File};
use std::process::{Command, Stdio};

use crate::harness::{APP, Output, Project, Sandbox, binary, run, skip};

/// Runs the program by `script`, in which `"$@"` stands for it and its arguments.
fn by_shell(sandbox: &Sandbox, script: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new("sh");
    command.args(["-euc", script, "sh"]).arg(binary()).args(arguments);
    sandbox.confine(&mut command);
    command.current_dir(sandbox.project());
    run(&mut command)
}

/// The same as root of namespaces of its own, where it may mount; none where that is not allowed.
fn with_mounts(sandbox: &Sandbox, script: &str, arguments: &[&str]) -> Option<Output> {
    let mut may = Command::new("unshare");
    may.args(["--user", "--map-root-user", "--mount", "true"]);
    if !may.output().is_ok_and(|output| output.status.success()) {
        skip("unshare may not make namespaces here: a full and a read-only disk are not tried");
        return None;
    }
    let script = format!("exec unshare --user --map-root-user --mount sh -euc '{script}' sh \"$@\"");
    Some(by_shell(sandbox, &script, arguments))
}

fn built() -> (Sandbox, String) {
    let sandbox = Sandbox::new();
    sandbox.write_project(&Project::new(), "1");
    let digest = sandbox.cairn(["build"]).ok().digest();
    sandbox.write_app("2");
    (sandbox, digest)
}

/// The last build is as it was, and the next one works.
#[track_caller]
fn nothing_is_lost(sandbox: &Sandbox, digest: &str) {
    sandbox.cairn(["verify", &format!("hello@{digest}")]).ok();
    assert_ne!(sandbox.cairn(["build"]).ok().digest(), digest);
    sandbox.cairn(["verify"]).ok();
}

#[test]
fn e8_too_few_open_files_are_said_and_nothing_is_lost() {
    let (sandbox, digest) = built();
    let mut failures = 0;
    // With fewer the runtime itself cannot start.
    for most in [8, 9, 10, 11, 12, 14, 16] {
        let output = by_shell(
            &sandbox,
            &format!("ulimit -n {most}; exec \"$@\""),
            &["build", "-j", "1"],
        );
        if output.code != Some(0) {
            failures += 1;
            // A file of the spec that cannot be opened is a finding, with its place, like every other.
            assert!(matches!(output.code, Some(1 | 3)), "{output}");
            let output = output.says("Too many open files");
            assert!(!output.stderr.contains("a bug in Cairn"), "{output}");
            assert_eq!(sandbox.tagged("hello:built"), digest, "with {most} files");
        }
    }
    assert!(failures > 0, "as few as that are enough");
    let tags = by_shell(&sandbox, "ulimit -n 16; exec \"$@\"", &["tags", "hello"]).ok();
    assert_eq!(tags.stdout, "built\n");
    sandbox.cairn(["verify"]).ok();
}

#[test]
fn e8_a_full_disk_is_said_and_what_is_there_can_be_read() {
    let (sandbox, digest) = built();
    // The store, copied onto a small disk. What is to be written does not fit.
    sandbox.write(APP, incompressible(4 << 20));
    let script = "mount -t tmpfs -o size=3m none /mnt; cp -a \"$CAIRN_STORE/.\" /mnt; export CAIRN_STORE=/mnt; \
                  export CAIRN_CACHE_SIZE=0; if \"$@\"; then exit 100; else code=$?; fi; \"$1\" verify \"hello@$DIGEST\" >&2; exit $code";
    let script = script.replace("$DIGEST", &digest);
    let Some(output) = with_mounts(&sandbox, &script, &["build"]) else {
        return;
    };
    output.exits(3).says("No space left on device").says("whole");
    sandbox.write_app("2");
    nothing_is_lost(&sandbox, &digest);
}

#[test]
fn e8_a_disk_that_cannot_be_written_is_read() {
    let (sandbox, digest) = built();
    let script = "mount --bind \"$CAIRN_STORE\" \"$CAIRN_STORE\"; mount -o remount,bind,ro \"$CAIRN_STORE\"; exec \"$@\"";
    let Some(output) = with_mounts(&sandbox, script, &["build"]) else {
        return;
    };
    output.exits(3).says("Read-only file system");
    for reading in [
        &["tags", "hello"][..],
        &["verify", &format!("hello@{digest}")],
        &["inspect", "hello:built"],
    ] {
        if let Some(output) = with_mounts(&sandbox, script, reading) {
            output.ok();
        }
    }
    nothing_is_lost(&sandbox, &digest);
}

#[test]
fn h7_nobody_who_listens_is_told_by_the_exit_code_alone() {
    let (sandbox, _) = built();
    let full = by_shell(&sandbox, "exec \"$@\" > /dev/full", &["build"]);
    full.exits(3)
        .says("cannot write to stdout: No space left on device");
    // What was to be done is done: only nobody was told.
    sandbox.cairn(["verify"]).ok();

    let mut command = sandbox.command(["tags", "hello"]);
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    command.stdout(Stdio::from(writer)).stderr(Stdio::piped());
    let output = command.output().expect("it runs");
    assert_eq!(output.status.code(), Some(3));
    assert!(
        output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );

    let mut command = sandbox.command(["build"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    command.stderr(File::options().write(true).open("/dev/full").expect("a device"));
    let output = command.output().expect("it runs");
    assert_eq!(
        output.status.code(),
        Some(0),
        "what is said beside the work may be lost"
    );
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("sha256:"));
    assert!(fs::metadata(sandbox.store()).is_ok());
}

fn incompressible(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    std::iter::repeat_with(next).take(length).collect()
}
