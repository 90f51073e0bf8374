//! The output rules, implemented a second time from the pages alone (`second/`): what it makes of a spec is what the program makes.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use crate::harness::{Output, Sandbox, run, skip, tool};

/// Everything of a spec that shows in the bytes and needs no base; `HEAD` is what a test puts before it.
const BODY: &str = r#"
[[user]]
name = "app"
uid = 2147483647
[[user]]
name = "zz"
uid = 3000000
groups = ["app", "zed"]
[[group]]
name = "zed"
gid = 2097152
members = ["zz", "app"]
[[layer]]
name = "src"
copy = [{ from = "src/", to = "/s" }, { from = "src/**/*.d", to = "/g/", owner = "zz", dir-mode = "0711", exclude = ["many/"] }]
[[layer]]
name = "linked"
hardlinks = true
copy = [{ from = "src/sizes", to = "/k/", owner = "app:zed", mode = "0640" }, { from = "src/sizes/h", to = "/a/first" }]
write = [{ to = "/w/a", text = "ä\n", mode = "4755", owner = "5:6", xattrs = { "user.b" = "2", "user.B" = "" } },
         { to = "/w/b", text = "", capabilities = ["net_raw", "bpf"] }]
link = [{ from = "/w/l", to = "../x" }]
dir = [{ to = "/dd", mode = "1777" }, { to = "/dd/ee", owner = "zz:zed", mode = "2770" }]
[[layer]]
name = "gone"
remove = ["/g", "/s/order/a-b", "/s/order/a/f", "/dd/ee"]
write = [{ to = "/s/order/a/b", text = "1" }, { to = "/s/order/a-a", text = "" }, { to = "/aaa", text = "" }]
[[layer]]
name = "back"
write = [{ to = "/dd/ee/again", text = "y" }]
[[layer]]
name = "nothing"
[config]
entrypoint = ["/bin/x", "é\u0001\u007f\u2028<&>"]
cmd = []
user = "app:zed"
env = { PATH = "/bin", A = "1", _z = "", a = "2" }
expose = [8080, "53/udp"]
volumes = ["/var/lib/a", "/b"]
stop-signal = "SIGRTMIN+3"
labels = { "\U0001F600" = "astral", "\uFF21" = "full", "Z" = "z", "a" = "" }
annotations = { "k.b" = "\b\n\"\\/", "k.a" = "" }
[config.healthcheck]
test = ["/c", "--x"]
interval = "1m30s"
timeout = "1500ms"
retries = 3
"#;

/// Bytes that look like nothing, the same every time.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32 ^ u32::try_from(length).unwrap();
    let step = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[0]
    };
    std::iter::repeat_with(step).take(length).collect()
}

fn write(folder: &Path, path: impl AsRef<[u8]>, length: usize) {
    let file = folder.join(OsStr::from_bytes(path.as_ref()));
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, noise(length)).unwrap();
    let mode = if length % 2 == 1 { 0o755 } else { 0o600 };
    std::fs::set_permissions(&file, PermissionsExt::from_mode(mode)).unwrap();
}

/// Sizes about every border, names about every length, and bytes that are no text.
fn write_files(folder: &Path) {
    for size in [
        0, 1, 511, 512, 513, 262_144, 524_287, 524_288, 524_289, 1_048_577, 2_097_152, 2_097_153,
    ] {
        write(folder, format!("sizes/s{size:08}"), size);
    }
    for path in [
        &b"\xff\xfe/a\xff"[..],
        b"caf\xc3\xa9.d",
        b"order/a/f",
        b"order/a-b",
        b"order/a.d/c",
        b"n\nl",
    ] {
        write(folder, path, path.len());
    }
    for length in [98, 99, 100, 101, 155, 156, 255] {
        write(folder, "n".repeat(length), length);
        write(
            folder,
            format!("{}/{}", "x".repeat(length.min(155) - 2), "y".repeat(length)),
            1,
        );
    }
    for number in 0..1500 {
        write(
            folder,
            format!("many/{}/f{number}.d", number % 37),
            number % 7 * 300,
        );
    }
    std::fs::hard_link(folder.join("sizes/s00000513"), folder.join("sizes/h")).unwrap();
    for length in [1, 100, 101, 300] {
        symlink("t".repeat(length), folder.join(format!("link{length}"))).unwrap();
    }
    symlink(OsStr::from_bytes(b"\xff\x01"), folder.join("link")).unwrap();
}

/// Compares the project's image in `out` with what the second implementation makes; nothing if it cannot run here.
fn compare(sandbox: &Sandbox) -> Option<Output> {
    let python = tool("python3")?;
    let has_toml = Command::new(&python)
        .args(["-c", "import tomllib"])
        .output()
        .unwrap();
    if !has_toml.status.success() {
        skip("python3 is older than 3.11");
        return None;
    }
    let mut command = Command::new(python);
    sandbox.confine(&mut command);
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/second/compare.py"));
    command.args([".", "out"]);
    Some(run(&mut command))
}

/// Builds with `head` before `BODY` and expects no difference.
fn agree(head: &str) {
    let sandbox = Sandbox::new();
    write_files(&sandbox.project().join("src"));
    sandbox.write("cairn.toml", format!("[image]\nname = \"second\"\n{head}{BODY}"));
    sandbox.cairn(["build", "--output", "oci:out"]).ok();
    if let Some(output) = compare(&sandbox) {
        assert_eq!(output.ok().stdout, "");
    }
}

#[test]
fn without_compression_every_byte_is_what_the_pages_say() {
    agree(
        "platforms = [\"linux/arm64/v8\", \"linux/amd64\", \"linux/arm/v7\"]\ncompression = \"none\"\ncreated = 1999-12-31T23:59:59Z\n",
    );
}

#[test]
fn gzip_segments_are_cut_where_the_pages_say() {
    agree("platforms = [\"linux/amd64\"]\ncreated = 1999-12-31T23:59:59+02:00\n");
}

#[test]
fn zstd_segments_are_cut_where_the_pages_say() {
    agree("platforms = [\"linux/amd64\"]\ncompression = \"zstd\"\n");
}

#[test]
fn a_root_file_system_and_a_split_layer_are_what_the_pages_say() {
    let sandbox = Sandbox::new();
    for number in 1..=9 {
        write(
            &sandbox.project().join("dist"),
            format!("d{number}/f"),
            700_000 + number,
        );
    }
    let spec = r#"[image]
name = "second"
platforms = ["linux/amd64"]
[base]
rootfs = "base.tar"
[[layer]]
name = "modules"
split = "auto"
copy = [{ from = "dist/", to = "/srv/app", owner = "7" }]
"#;
    sandbox.write("base.tar", vec![0_u8; 1024]);
    sandbox.write("cairn.toml", spec);
    sandbox.cairn(["build", "--output", "oci:out"]).ok();
    let Some(output) = compare(&sandbox) else { return };
    assert_eq!(output.ok().stdout, "");
    assert!(
        std::fs::read_to_string(sandbox.project().join("cairn.lock"))
            .unwrap()
            .contains("borders")
    );
}

#[test]
fn a_difference_is_seen() {
    let sandbox = Sandbox::new();
    let spec = "[image]\nname = \"second\"\nplatforms = [\"linux/amd64\"]\n[[layer]]\nname = \"a\"\nwrite = [{ to = \"/a\", text = \"1\" }]\n";
    sandbox.write("cairn.toml", spec);
    sandbox.cairn(["build", "--output", "oci:out"]).ok();
    sandbox.write("cairn.toml", spec.replace("\"1\"", "\"2\""));
    let Some(output) = compare(&sandbox) else { return };
    let said = output.exits(1).stdout;
    assert!(
        said.contains("layer a: differs from byte 512") && said.contains("manifest"),
        "{said}"
    );
}
