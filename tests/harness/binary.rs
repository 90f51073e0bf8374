//! The program that is tested: built once for each run of the tests, so that it is never an old one.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// The workspace's directory.
pub(crate) fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ stands in the workspace")
}

/// The path of `cairn`, built in the profile of the tests.
pub(crate) fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(build)
}

fn build() -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    // What cargo tells a test of its package is not meant for a build: build scripts would run again for it.
    for (name, _) in std::env::vars_os() {
        let told = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_CRATE_", "CARGO_PRIMARY_"];
        if told.iter().any(|told| name.to_string_lossy().starts_with(told)) {
            command.env_remove(name);
        }
    }
    let output = command
        .current_dir(workspace())
        .args(["build", "--locked", "-p", "cairn-cli", "--bin", "cairn"])
        .args(["--message-format", "json-render-diagnostics"])
        .args(["--profile", &profile()])
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo can be started");
    assert!(output.status.success(), "cairn does not build");
    executable(&output.stdout).expect("cargo names the executable that it built")
}

/// The profile that these tests were built in, from the directory that they run in: `target/<profile>/deps`.
fn profile() -> String {
    let tests = std::env::current_exe().expect("the test knows its own path");
    let directory = tests.parent().and_then(Path::parent).and_then(Path::file_name);
    match directory
        .and_then(|name| name.to_str())
        .expect("a test runs in target/<profile>/deps")
    {
        "debug" => "dev".to_owned(),
        other => other.to_owned(),
    }
}

fn executable(messages: &[u8]) -> Option<PathBuf> {
    messages
        .split(|byte| *byte == b'\n')
        .filter_map(|line| serde_json::from_slice::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == "cairn")
        .find_map(|message| Some(PathBuf::from(message["executable"].as_str()?)))
}
