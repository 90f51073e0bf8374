//! A second reader, written from docs/ledger-format.md alone (`docs/read_ledger.py`): it sees in a ledger what Cairn sees.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::harness::{Output, Project, Sandbox, run, skip, tool, workspace};
use crate::signing::openssl_key;

/// What the script says of the layout at `path`; nothing if it cannot run here.
fn read(sandbox: &Sandbox, path: &Path) -> Option<Value> {
    let output = run_script(sandbox, path, &[])?.ok();
    assert_eq!(output.stderr, "", "findings");
    Some(serde_json::from_str(&output.stdout).expect("one document"))
}

/// The same of a layout in which heads, or all of them, may not count: then it says so and ends with 1.
pub(crate) fn read_whatever(sandbox: &Sandbox, path: &Path) -> Option<Option<Value>> {
    let output = run_script(sandbox, path, &[])?;
    assert!(!output.stderr.contains("Traceback"), "{}", output.stderr);
    if output.stdout.is_empty() {
        output.exits(1);
        return Some(None);
    }
    Some(Some(serde_json::from_str(&output.stdout).expect("one document")))
}

fn run_script(sandbox: &Sandbox, path: &Path, options: &[&str]) -> Option<Output> {
    let python = tool("python3")?;
    let has_library = Command::new(&python).args(["-c", "import cryptography"]).output();
    if !has_library.unwrap().status.success() {
        skip("python3-cryptography is not installed");
        return None;
    }
    let mut command = Command::new(python);
    sandbox.confine(&mut command);
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command.arg(workspace().join("docs/read_ledger.py"));
    command.args(options).arg(path).arg("--json");
    Some(run(&mut command))
}

fn texts<'a>(rows: &'a Value, member: &str) -> Vec<&'a Value> {
    rows.as_array()
        .expect("a list")
        .iter()
        .map(|row| &row[member])
        .collect()
}

/// The version, or the digest of what has none.
fn label(shown: &Value) -> String {
    let text = shown["version"].as_str().or(shown["digest"].as_str());
    text.unwrap_or("-").to_owned()
}

#[test]
fn the_ledgers_that_are_kept_are_read_from_the_page_alone() {
    let sandbox = Sandbox::new();
    let fixtures: PathBuf = workspace().join("crates/ledger/tests/fixtures/v1");
    for name in ["linear", "causal"] {
        let Some(said) = read(&sandbox, &fixtures.join(name)) else {
            return;
        };
        let golden = std::fs::read_to_string(fixtures.join(format!("{name}.txt"))).unwrap();
        let mut lines: Vec<String> = golden.lines().map(str::to_owned).collect();
        // The trails are not among what the script says.
        for line in &mut lines {
            if let (Some(begin), Some(end)) = (line.find(", trail ["), line.find("], back ")) {
                line.replace_range(begin..=end, "");
            }
        }
        assert_eq!(text(&said), lines.join("\n") + "\n", "{name}");
    }
}

/// What the script said, as the crate's tests write it.
fn text(said: &Value) -> String {
    let string = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let mut text = format!(
        "ledger {} {} of {}\n",
        string(&said["ledger"]),
        string(&said["mode"]),
        string(&said["home"])
    );
    for entry in said["entries"].as_array().unwrap() {
        let void = entry["void"].as_array().unwrap().iter();
        let void: Vec<String> = void
            .map(|void| format!("{}: {}", string(&void["subject"]), string(&void["why"])))
            .collect();
        let void = match &void[..] {
            [] => String::new(),
            void => format!("  void [{}]", void.join("; ")),
        };
        let (seq, kind) = (entry["seq"].as_u64().unwrap(), string(&entry["kind"]));
        let (version, name) = (string(&entry["version"]), string(&entry["name"]));
        text.push_str(&format!("{seq:2} {kind} {version}{void}  {name}\n"));
    }
    for channel in said["channels"].as_array().unwrap() {
        let held = if channel["held"] == true { " held" } else { "" };
        let (name, shows, back) = (
            string(&channel["name"]),
            label(channel),
            label(&channel["way_back"]),
        );
        text.push_str(&format!("channel {name} shows {shows}{held}, back {back}\n"));
    }
    for version in said["versions"].as_array().unwrap() {
        let digests: Vec<String> = version["digests"]
            .as_array()
            .unwrap()
            .iter()
            .map(string)
            .collect();
        let (name, standing) = (string(&version["version"]), string(&version["standing"]));
        text.push_str(&format!("version {name} {standing} {}\n", digests.join(" ")));
    }
    for glass in said["break_glass"].as_array().unwrap() {
        let ratified = glass["ratified"].as_str();
        text.push_str(&format!(
            "break-glass {} ratified by {ratified:?}\n",
            string(&glass["name"])
        ));
    }
    text
}

#[test]
fn a_ledger_that_the_program_made_is_read_from_the_page_alone() {
    let sandbox = Sandbox::new();
    sandbox.write_project(&Project::new(), "0");
    for (version, to) in [("1.0.0", "prod"), ("2.0.0", "prod"), ("3.0.0", "green")] {
        sandbox.write_app(version);
        sandbox.cairn(["release", version, "--channel", to]).ok();
    }
    sandbox.cairn(["switch", "prod", "green"]).ok();
    sandbox.cairn(["yank", "2.0.0"]).ok();
    sandbox.cairn(["rollback", "prod"]).ok();
    agrees(&sandbox);
}

/// The keys of key services: ECDSA over P-256, by a command.
#[test]
fn a_ledger_signed_with_p256_is_read_from_the_page_alone() {
    let sandbox = Sandbox::new();
    let Some((signer, public)) = openssl_key(&sandbox, "own") else {
        return;
    };
    let cairn = |arguments: &[&str]| {
        let mut command = sandbox.command(arguments);
        run(command
            .env("CAIRN_SIGNER", &signer)
            .env("CAIRN_SIGNER_KEY", &public))
    };
    sandbox.write_project(&Project::new(), "0");
    for version in ["1.0.0", "2.0.0"] {
        sandbox.write_app(version);
        cairn(&["release", version, "--channel", "prod"]).ok();
    }
    cairn(&["rollback", "prod"]).ok();
    assert!(!sandbox.key().exists(), "no other key signed");
    agrees(&sandbox);
}

/// The script says of the ledger of `hello` what the program says.
#[track_caller]
fn agrees(sandbox: &Sandbox) {
    let status = sandbox.cairn(["--json", "status"]).ok().json();
    let history = sandbox.cairn(["--json", "history"]).ok().json();
    let layout = sandbox.store().join("repos/hello/_layout");
    let Some(said) = read(sandbox, &layout) else {
        return;
    };
    for member in ["name", "version", "digest"] {
        assert_eq!(
            texts(&said["channels"], member),
            texts(&status["channels"], member),
            "{member}"
        );
    }
    let channels = status["channels"].as_array().unwrap();
    for (said, row) in said["channels"].as_array().unwrap().iter().zip(channels) {
        assert_eq!(label(&said["way_back"]), label(&row["way_back"]));
        assert_eq!(said["held"] == true, !row["held"].is_null());
    }
    assert_eq!(said["size"], status["size"]);
    let mut entries = history["entries"].as_array().unwrap().clone();
    entries.reverse();
    let entries = Value::Array(entries);
    for member in ["seq", "name", "kind", "version"] {
        assert_eq!(
            texts(&said["entries"], member),
            texts(&entries, member),
            "{member}"
        );
    }
}

/// Copies the ledgers `names` that are kept into one layout.
fn layout_of(names: &[&str]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let blobs = directory.path().join("blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    let mut manifests = Vec::new();
    for name in names {
        let from = workspace().join("crates/ledger/tests/fixtures/v1").join(name);
        for blob in std::fs::read_dir(from.join("blobs/sha256")).unwrap() {
            let blob = blob.unwrap();
            std::fs::copy(blob.path(), blobs.join(blob.file_name())).unwrap();
        }
        let index = std::fs::read(from.join("index.json")).unwrap();
        let index: Value = serde_json::from_slice(&index).unwrap();
        manifests.extend(index["manifests"].as_array().unwrap().iter().cloned());
    }
    let index = serde_json::json!({ "schemaVersion": 2, "manifests": manifests });
    std::fs::write(directory.path().join("index.json"), index.to_string()).unwrap();
    directory
}

#[test]
fn a_ledger_that_lacks_a_blob_or_has_a_wrong_one_is_refused_by_the_script() {
    let sandbox = Sandbox::new();
    let layout = layout_of(&["linear"]);
    let blobs = std::fs::read_dir(layout.path().join("blobs/sha256")).unwrap();
    for blob in blobs.map(|blob| blob.unwrap().path()) {
        let whole = std::fs::read(&blob).unwrap();
        for damaged in [None, Some([&whole[..], b"\n"].concat()), Some(b"{}".to_vec())] {
            std::fs::remove_file(&blob).unwrap();
            if let Some(damaged) = damaged {
                std::fs::write(&blob, damaged).unwrap();
            }
            let Some(output) = run_script(&sandbox, layout.path(), &[]) else {
                return;
            };
            let output = output.exits(1).says("does not count");
            assert!(!output.stderr.contains("Traceback"), "{}", output.stderr);
            std::fs::write(&blob, &whole).unwrap();
        }
    }
    let empty = tempfile::tempdir().unwrap();
    let output = run_script(&sandbox, empty.path(), &[]).unwrap();
    output.exits(1).says("is no image layout");
}

#[test]
fn of_two_ledgers_in_one_place_the_script_shows_the_one_that_is_trusted() {
    let sandbox = Sandbox::new();
    let both = layout_of(&["linear", "causal"]);
    let Some(output) = run_script(&sandbox, both.path(), &[]) else {
        return;
    };
    output.exits(1).says("a head of another ledger");
    for name in ["linear", "causal"] {
        let alone = read(&sandbox, layout_of(&[name]).path()).unwrap();
        let trust = ["--trust", alone["ledger"].as_str().unwrap()];
        let output = run_script(&sandbox, both.path(), &trust).unwrap();
        let said: Value = serde_json::from_str(&output.ok().stdout).unwrap();
        assert_eq!(
            (&said["ledger"], &said["entries"]),
            (&alone["ledger"], &alone["entries"])
        );
    }
}
