//! The documents that `--json` prints: the version of their shape first, then the fields that docs and scripts rely on.

use serde_json::Value;

use crate::harness::{Project, Sandbox};

const MOVED: &[&str] = &[
    "repository",
    "reference",
    "version",
    "channels",
    "digest",
    "previous",
    "seq",
    "name",
    "mode",
    "changed",
    "dry_run",
    "uploaded",
    "reused",
];
const REPORT: &[&str] = &["ok", "findings", "checked", "unchecked"];

/// The document that a command prints, which has these fields.
#[track_caller]
fn document<const N: usize>(sandbox: &Sandbox, arguments: [&str; N], fields: &[&str]) -> Value {
    let output = sandbox.cairn(["--json"].into_iter().chain(arguments)).ok();
    let document = output.json();
    has(&document, fields);
    document
}

#[track_caller]
fn has(object: &Value, fields: &[&str]) {
    let members = object.as_object().expect("an object");
    for field in fields {
        assert!(members.contains_key(*field), "no `{field}` in {object}");
    }
}

#[track_caller]
fn is_time(value: &Value) {
    let text = value.as_str().expect("a time is a text");
    assert!(
        text.len() == 20 && text.ends_with('Z') && text.as_bytes()[10] == b'T',
        "{text} is no RFC 3339 in UTC"
    );
}

#[test]
fn every_document_has_its_fields() {
    let registry = Sandbox::new();
    let server = registry.serve();
    let sandbox = Sandbox::new();
    let repository = server.repository("team/hello");
    sandbox.write_project(&Project::new().repository(&repository), "1");

    let built = document(
        &sandbox,
        ["build"],
        &[
            "repository",
            "reference",
            "digest",
            "changed",
            "uploaded",
            "reused",
            "platforms",
        ],
    );
    let first = built["digest"].clone();
    assert_eq!(built["changed"], true);
    has(&built["uploaded"], &["blobs", "bytes"]);
    has(&built["platforms"][0], &["platform", "digest", "size", "layers"]);
    assert_eq!(document(&sandbox, ["build"], &[])["changed"], false);

    let pushed = document(
        &sandbox,
        ["push"],
        &[
            "repository",
            "reference",
            "digest",
            "changed",
            "uploaded",
            "reused",
        ],
    );
    assert_eq!(pushed["digest"], first);
    assert_eq!(pushed["repository"], Value::from(repository.as_str()));
    assert!(pushed["uploaded"]["bytes"].as_u64() > Some(0));

    let released = document(&sandbox, ["release", "1.0.0", "--channel", "prod"], MOVED);
    assert_eq!(released["version"], "1.0.0");
    assert_eq!(released["seq"], 1);
    assert_eq!(released["mode"], "linear");
    assert_eq!(released["previous"], Value::Null);
    assert_eq!(released["digest"], first);
    assert_eq!(released["uploaded"]["blobs"], 0, "the push brought it");

    sandbox.write_app("2");
    document(&sandbox, ["release", "2.0.0"], MOVED);
    let promoted = document(&sandbox, ["promote", "2.0.0", "prod"], MOVED);
    assert_eq!(promoted["previous"], first);

    let back = document(&sandbox, ["rollback", "prod", "--reason", "slow"], MOVED);
    assert_eq!(back["digest"], first);
    assert_eq!(back["previous"], promoted["digest"]);
    assert_eq!(back["changed"], true);
    let again = document(&sandbox, ["rollback", "prod"], MOVED);
    assert_eq!(again["changed"], false);

    let status = document(
        &sandbox,
        ["status"],
        &["repository", "mode", "size", "head", "at", "channels"],
    );
    let channel = &status["channels"][0];
    has(
        channel,
        &[
            "name", "version", "digest", "since", "by", "reason", "agrees", "held", "way_back",
        ],
    );
    assert_eq!(status["size"], 5);
    is_time(&status["at"]);
    is_time(&channel["since"]);
    assert_eq!(channel["agrees"], true);
    assert_eq!(channel["held"]["reason"], "slow");

    let history = document(&sandbox, ["history"], &["repository", "entries"]);
    let entries = history["entries"].as_array().unwrap();
    for entry in entries {
        has(
            entry,
            &[
                "seq", "name", "at", "kind", "version", "channels", "digest", "previous", "actor", "reason",
                "key", "source", "void",
            ],
        );
        is_time(&entry["at"]);
    }
    let kinds: Vec<&str> = entries
        .iter()
        .map(|entry| entry["kind"].as_str().unwrap())
        .collect();
    assert_eq!(
        kinds,
        ["rollback", "promote", "release", "release", "genesis"],
        "newest first"
    );
    assert_eq!(entries[0]["name"], back["name"]);

    let shown = document(&sandbox, ["show", "1.0.0"], &["repository", "version", "bound"]);
    assert_eq!(shown["bound"][0]["digest"], first);
    let audit = document(&sandbox, ["audit"], REPORT);
    assert_eq!(audit["ok"], true);
    let verified = document(&sandbox, ["verify"], REPORT);
    assert_eq!(verified["ok"], true);
    let inspected = document(
        &sandbox,
        ["inspect", "hello:built"],
        &["reference", "digest", "media_type", "images"],
    );
    assert_eq!(inspected["digest"], promoted["digest"]);
}

#[test]
fn a_report_with_findings_is_a_document_too() {
    let sandbox = Sandbox::new();
    sandbox.write_project(&Project::new(), "1");
    sandbox.cairn(["release", "1.0.0", "--channel", "prod"]).ok();
    let layer = sandbox.layer("hello:1.0.0");
    sandbox.spoil_blob("hello", &layer);

    let verify = sandbox.cairn(["--json", "verify", "hello:1.0.0"]).exits(4).json();
    assert_eq!(verify["ok"], false);
    has(&verify["findings"][0], &["code", "subject", "message"]);
    assert!(
        verify.to_string().contains(&layer),
        "the finding names the layer: {verify}"
    );

    let audit = sandbox.cairn(["--json", "audit", "--deep"]).exits(4).json();
    assert_eq!(audit["ok"], false);
    has(&audit["findings"][0], &["code", "subject", "message"]);
}
