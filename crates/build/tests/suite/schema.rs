//! The JSON Schema: it stands in docs/, and agrees with the reader.

use cairn_build::spec::schema;
use cairn_build::{Spec, Workspace};
use serde_json::{Map, Value};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/cairn.schema.json");
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// A spec as JSON, as editors hand it to a schema: a date becomes a text.
fn to_json(value: &toml::Value) -> Value {
    match value {
        toml::Value::String(text) => text.clone().into(),
        toml::Value::Integer(number) => (*number).into(),
        toml::Value::Float(number) => (*number).into(),
        toml::Value::Boolean(boolean) => (*boolean).into(),
        toml::Value::Datetime(date) => date.to_string().into(),
        toml::Value::Array(elements) => elements.iter().map(to_json).collect(),
        toml::Value::Table(table) => table
            .iter()
            .map(|(key, value)| (key.clone(), to_json(value)))
            .collect::<Map<_, _>>()
            .into(),
    }
}

fn is_valid(text: &str) -> bool {
    let spec: toml::Table = toml::from_str(text).unwrap();
    let validator = jsonschema::draft202012::new(&schema()).unwrap();
    validator.is_valid(&to_json(&toml::Value::Table(spec)))
}

/// Every block of TOML in a document that is a spec by itself.
fn specs_of(document: &str) -> Vec<String> {
    let blocks = document.split("```toml\n").skip(1);
    let blocks = blocks.filter_map(|block| block.split("```").next());
    blocks
        .filter(|block| block.contains("[image]") || block.contains("[workspace]"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_one_in_docs_is_this_one() {
    let text = format!("{}\n", serde_json::to_string_pretty(&schema()).unwrap());
    if std::env::var_os("CAIRN_BLESS").is_some() {
        std::fs::write(FILE, &text).unwrap();
    }
    let stored = std::fs::read_to_string(FILE).unwrap_or_default();
    assert!(
        stored == text,
        "run the test with CAIRN_BLESS=1 and look at the difference"
    );
}

#[test]
fn what_is_documented_is_valid() {
    let document = std::fs::read_to_string(format!("{ROOT}/docs/spec.md")).unwrap();
    let mut specs = specs_of(&document);
    assert!(specs.len() > 5);
    for directory in ["examples", "examples/workspace"] {
        for entry in std::fs::read_dir(format!("{ROOT}/{directory}")).unwrap() {
            let spec = entry.unwrap().path().join("cairn.toml");
            specs.extend(std::fs::read_to_string(spec).ok());
        }
    }
    for spec in specs {
        let read = match spec.contains("[workspace]") {
            true => Workspace::parse(&spec).map(|_| ()),
            false => Spec::parse(&spec).map(|_| ()),
        };
        // What members inherit is read with their workspace, in `documented`.
        assert!(
            read.is_ok() || spec.contains("workspace = true"),
            "{spec}\n{read:?}"
        );
        assert!(is_valid(&spec), "{spec}");
    }
}

const IMAGE: &str = "[image]\nname = \"a\"\nplatforms = [\"linux/amd64\"]\n";

/// Wrong by themselves, and refused by both.
const BAD: &[&str] = &[
    "colour = 1\n",
    "created = \"inputs\"\n[[layer]]\n",
    "compression = \"xz\"\n",
    "[base]\ninherit = [\"enviroment\"]\nimage = \"debian:12\"\n",
    "[base]\nimage = [\"debian:12\"]\n",
    "[user]\nname = \"a\"\n",
    "[[user]]\nname = \"1a\"\nuid = 1\n",
    "[[user]]\nname = \"a\"\nuid = -1\n",
    "[[user]]\nname = \"a\"\nuid = 2147483648\n",
    "[[user]]\nname = \"a\"\nuid = 1\nhome = \"here\"\n",
    "[[user]]\nname = \"a\"\nuid = 1\ngroups = [1]\n",
    "[[group]]\nname = \"a\"\n",
    "[[group]]\nname = \"a\"\ngid = 1\nmembers = \"b\"\n",
    "[[layer]]\nname = \"App\"\n",
    "[[layer]]\nname = \"app\"\nhardlinks = \"yes\"\n",
    "[[layer]]\nname = \"app\"\nsplit = \"half\"\n",
    "[[layer]]\nname = \"app\"\ncompression = 9\n",
    "[[layer]]\nname = \"app\"\nremove = [\"usr\"]\n",
    "[[layer]]\nname = \"app\"\ncopy = { from = \"a\", to = \"/a\" }\n",
    "[[layer]]\nname = \"app\"\ncopy = [{ from = \"a\" }]\n",
    "[[layer]]\nname = \"app\"\ncopy = [{ from = \"/a\", to = \"/a\" }]\n",
    "[[layer]]\nname = \"app\"\ncopy = [{ from = \"a\", to = \"a\" }]\n",
    "[[layer]]\nname = \"app\"\ncopy = [{ from = \"a\", to = \"/a\", mode = \"755\" }]\n",
    "[[layer]]\nname = \"app\"\ncopy = [{ from = \"a\", to = \"/a\", mode = 493 }]\n",
    "[[layer]]\nname = \"app\"\ncopy = [{ from = \"a\", to = \"/a\", owner = \"a b\" }]\n",
    "[[layer]]\nname = \"app\"\ncopy = [{ from = \"a\", to = \"/a\", exclude = [\"/b\"] }]\n",
    "[[layer]]\nname = \"app\"\ncopy = [{ from = \"a\", to = \"/a\", capabilities = [\"root\"] }]\n",
    "[[layer]]\nname = \"app\"\nwrite = [{ to = \"/a\" }]\n",
    "[[layer]]\nname = \"app\"\nwrite = [{ to = \"/a\", text = \"\", xattrs = { a = 1 } }]\n",
    "[[layer]]\nname = \"app\"\nlink = [{ from = \"a\", to = \"b\" }]\n",
    "[[layer]]\nname = \"app\"\ndir = [{ to = \"a\" }]\n",
    "[config]\nentrypoint = \"/a\"\n",
    "[config]\nexpose = [0]\n",
    "[config]\nexpose = [\"53/xyz\"]\n",
    "[config]\nvolumes = [\"data\"]\n",
    "[config]\nstop-signal = \"TERM\"\n",
    "[config]\nworkdir = \"srv\"\n",
    "[config]\nenv = { A = 1 }\n",
    "[config]\nhealthcheck = [\"/a\"]\n",
    "[config]\nhealthcheck = { interval = \"1s\" }\n",
    "[config]\nhealthcheck = { test = \"curl localhost\" }\n",
    "[config]\nhealthcheck = { test = [\"/a\"], interval = \"30\" }\n",
    "[config]\nhealthcheck = { test = [\"/a\"], retries = 0 }\n",
    "[ledger]\ntrust = \"sha256:1\"\n",
    "[config]\nworkspace = false\n",
    "[config]\nuser = { workspace = 1 }\n",
];

/// Well formed, and refused by the reader alone, because it takes more than one value to see what is wrong.
const SEMANTIC: &[&str] = &[
    "[base]\nimage = \"a:1\"\noci = \"b\"\n",
    "[base]\nimage = \"a\"\n",
    "[[user]]\nname = \"a\"\nuid = 1\n[[user]]\nname = \"a\"\nuid = 2\n",
    "[[layer]]\nname = \"app\"\nwrite = [{ to = \"/a\", text = \"\" }, { to = \"/a\", text = \"\" }]\n",
    "[[layer]]\nname = \"app\"\nwrite = [{ to = \"/a\", text = \"\", mode = \"4755\" }]\n",
];

#[test]
fn what_is_wrong_by_itself_is_refused_by_schema_and_reader() {
    for bad in BAD {
        let text = format!("{IMAGE}{bad}");
        assert!(Spec::parse(&text).is_err(), "the reader takes {bad}");
        assert!(!is_valid(&text), "the schema takes {bad}");
    }
    assert!(
        !is_valid("[config]\ncmd = [\"a\"]\n"),
        "neither image nor workspace"
    );
    for bad in [
        "[workspace]\n",
        "[workspace]\nmembers = \"web\"\n",
        "[workspace]\nmembers = [\"web\"]\n[workspace.image]\nname = \"a\"\n",
        "[workspace]\nmembers = [\"web\"]\n[workspace.base]\nworkspace = true\n",
    ] {
        assert!(Workspace::parse(bad).is_err(), "the reader takes {bad}");
        assert!(!is_valid(bad), "the schema takes {bad}");
    }
    for bad in SEMANTIC {
        let text = format!("{IMAGE}{bad}");
        assert!(Spec::parse(&text).is_err(), "the reader takes {bad}");
        assert!(is_valid(&text), "the schema refuses {bad}");
    }
}
