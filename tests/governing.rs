//! Several people: keys with roles, thresholds, rules of channels, approvals, breaking the glass, and recovery.

use crate::harness::{Output, Project, Sandbox, run};

/// Somebody with a key, who works in another's sandbox.
struct Person {
    own: Sandbox,
    public: String,
}

impl Person {
    fn new() -> Self {
        let own = Sandbox::new();
        own.cairn(["key", "new"]).ok();
        let public = own.cairn(["key", "--pem"]).ok().stdout;
        Self { own, public }
    }

    /// Runs cairn with this person's key.
    fn cairn<const N: usize>(&self, sandbox: &Sandbox, arguments: [&str; N]) -> Output {
        run(sandbox.command(arguments).env("CAIRN_KEY_FILE", self.own.key()))
    }

    fn fingerprint(&self) -> String {
        self.own.cairn(["key"]).ok().line().to_owned()
    }
}

/// A project with a ledger whose owner is the sandbox's own key, and prod showing 1.
fn begun() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write_project(&Project::new(), "1");
    sandbox.cairn(["release", "1", "--channel", "prod"]).ok();
    sandbox.write_app("2");
    sandbox
}

/// Writes the spec with these rules for prod, and applies them.
fn rule(sandbox: &Sandbox, rules: &str) {
    let project = Project::new().with(&format!("\n[ledger.channels.prod]\n{rules}\n"));
    sandbox.write("cairn.toml", project.spec());
    sandbox.cairn(["ledger", "rules", "--apply"]).ok();
}

/// The name under which an entry waits, from the hint.
fn waiting(output: &Output) -> String {
    let hint = output.stderr.split("cairn approve ").nth(1);
    let hint = hint.unwrap_or_else(|| panic!("no hint:\n{output}"));
    hint.split_whitespace().next().unwrap().to_owned()
}

#[test]
fn two_people_and_a_threshold_of_two() {
    let sandbox = begun();
    let (ann, bob) = (Person::new(), Person::new());
    sandbox
        .cairn(["key", "add", &ann.public, "--name", "ann"])
        .fails(2)
        .says("--role is missing");
    sandbox
        .cairn([
            "key",
            "add",
            &ann.public,
            "--name",
            "ann",
            "--role",
            "everything",
            "--threshold",
            "2",
        ])
        .ok()
        .says("threshold        1 → 2");
    // From here on nobody changes the keys alone.
    let add = sandbox
        .cairn([
            "key",
            "add",
            &bob.public,
            "--name",
            "bob",
            "--role",
            "rollback on prod",
        ])
        .fails(6)
        .says("the keys were not changed: waiting for 1 signature");
    let name = waiting(&add);
    let again = sandbox
        .cairn([
            "key",
            "add",
            &bob.public,
            "--name",
            "bob",
            "--role",
            "rollback on prod",
        ])
        .fails(6);
    assert_eq!(waiting(&again), name, "what is wanted twice waits once");
    sandbox
        .cairn(["approve", &name])
        .fails(6)
        .says("waiting for 1 signature");
    bob.cairn(&sandbox, ["approve", &name])
        .fails(1)
        .says("does not help");
    sandbox.cairn(["approve"]).ok().prints(&name).prints("keys");
    let list = sandbox.cairn(["--json", "approve"]).ok().json();
    assert_eq!(list["waiting"].as_array().unwrap().len(), 1);
    assert_eq!(list["waiting"][0]["standing"], "open");
    ann.cairn(&sandbox, ["approve", &name])
        .ok()
        .says("the keys were changed");
    sandbox.cairn(["approve"]).ok().says("nothing waits");
    sandbox
        .cairn(["key", "list"])
        .ok()
        .prints("bob")
        .prints("rollback on prod")
        .prints("(you)");
    // One that is taken back is gone.
    let other = waiting(&sandbox.cairn(["key", "threshold", "1"]).fails(6));
    sandbox.cairn(["approve", &other, "--withdraw"]).ok();
    ann.cairn(&sandbox, ["approve", &other]).fails(1).says("no entry");
    // One that was overtaken can no longer be signed.
    let late = waiting(&sandbox.cairn(["key", "threshold", "1"]).fails(6));
    let first = waiting(&sandbox.cairn(["key", "remove", "bob"]).fails(6));
    ann.cairn(&sandbox, ["approve", &first]).ok();
    ann.cairn(&sandbox, ["approve", &late])
        .fails(6)
        .says("something else came first");
    sandbox.cairn(["audit"]).ok().prints("no finding");
}

#[test]
fn nobody_is_locked_out() {
    let sandbox = begun();
    let own = sandbox.cairn(["key"]).ok().line().to_owned();
    sandbox.cairn(["key", "remove", &own]).fails(1);
    sandbox
        .cairn(["key", "threshold", "2"])
        .fails(1)
        .says("1 of the listed keys may change the list");
    sandbox.cairn(["key", "threshold", "0"]).fails(1);
    let ann = Person::new();
    sandbox
        .cairn([
            "key",
            "add",
            &ann.public,
            "--role",
            "everything",
            "--until",
            "2020-01-01",
            "--threshold",
            "2",
        ])
        .fails(1)
        .says("1 of the listed keys may change the list");
    ann.cairn(&sandbox, ["key", "add", &ann.public, "--role", "everything"])
        .fails(1)
        .says("may not change keys");
    // Whoever leaves needs somebody who stays to say so.
    sandbox
        .cairn(["key", "add", &ann.public, "--role", "everything"])
        .ok();
    let name = waiting(
        &sandbox
            .cairn(["key", "remove", &own])
            .fails(6)
            .says("listed afterwards"),
    );
    ann.cairn(&sandbox, ["approve", &name]).ok();
    sandbox.cairn(["rollback", "prod"]).fails(1);
    sandbox.cairn(["key", "list"]).ok().prints(&ann.fingerprint());
}

#[test]
fn a_role_that_may_only_roll_back_to_what_prod_had() {
    let sandbox = begun();
    let (ann, old) = (Person::new(), Person::new());
    let role = "rollback on prod to shown";
    sandbox
        .cairn(["key", "add", &ann.public, "--name", "ann", "--role", role])
        .ok();
    let until = [
        "key",
        "add",
        &old.public,
        "--role",
        "rollback on prod",
        "--until",
        "2020-01-01",
    ];
    sandbox.cairn(until).ok();
    sandbox.cairn(["release", "2", "--channel", "prod"]).ok();
    sandbox.write_app("3");
    sandbox.cairn(["release", "3", "--channel", "staging"]).ok();
    ann.cairn(&sandbox, ["promote", "3", "prod"])
        .fails(1)
        .says("may not promote to prod");
    ann.cairn(&sandbox, ["rollback", "staging"]).fails(1);
    ann.cairn(&sandbox, ["rollback", "prod", "3"])
        .fails(1)
        .says("only to what it has shown");
    old.cairn(&sandbox, ["rollback", "prod"])
        .fails(1)
        .says("may not roll back prod");
    ann.cairn(&sandbox, ["rollback", "prod"]).ok().says("2 → 1, held");
    ann.cairn(&sandbox, ["resume", "prod"]).fails(1);
    sandbox.cairn(["history"]).ok().prints("ann");
    // What is taken out of the list can do nothing from then on, and what it did stays.
    sandbox.cairn(["key", "remove", "ann"]).ok();
    ann.cairn(&sandbox, ["rollback", "prod", "2"]).fails(1);
    sandbox.cairn(["status"]).ok().prints("1");
    sandbox.cairn(["audit"]).ok().prints("no finding");
}

#[test]
fn rules_bind_what_moves_forward() {
    let sandbox = begun();
    sandbox
        .cairn(["ledger", "rules"])
        .ok()
        .says("no channel has rules");
    rule(&sandbox, "from = \"staging\"\nsoak = \"24h\"");
    sandbox.cairn(["ledger", "rules"]).ok().prints("  prod: soak 1d");
    sandbox
        .cairn(["release", "2", "--channel", "prod"])
        .fails(6)
        .says("never on the channel")
        .says("takes only what staging has shown: cairn promote 2 staging first");
    sandbox.cairn(["promote", "2", "staging"]).ok();
    sandbox
        .cairn(["promote", "2", "prod"])
        .fails(6)
        .says("not long enough")
        .says("what staging has shown for 24h without a break; it has for");
    rule(&sandbox, "from = \"staging\"");
    sandbox.cairn(["promote", "2", "prod"]).ok();
    rule(
        &sandbox,
        "freeze = [{ from = 2000-01-01T00:00:00Z, until = 2999-01-01T00:00:00Z }]",
    );
    for dry in [&["--dry-run"][..], &[]] {
        sandbox
            .cairn([&["promote", "1", "prod"], dry].concat())
            .fails(6)
            .says("prod is frozen until 2999-01-01 00:00 UTC; a rollback is not");
    }
    sandbox.cairn(["rollback", "prod", "--no-hold"]).ok();
    rule(
        &sandbox,
        "freeze = [{ from = 2000-01-01T00:00:00Z, until = 2001-01-01T00:00:00Z }]\nfloor = \"2\"",
    );
    sandbox.cairn(["promote", "2", "prod"]).ok();
    sandbox
        .cairn(["rollback", "prod"])
        .fails(6)
        .says("below the channel's floor")
        .says("nothing that was released before 2");
    let spec = Project::new()
        .with("\n[ledger.channels.prod]\nfloor = \"1\"\n")
        .spec();
    sandbox.write("cairn.toml", spec);
    sandbox
        .cairn(["ledger", "rules"])
        .ok()
        .prints("- prod: floor 2")
        .prints("+ prod: floor 1")
        .says("--apply");
    sandbox.cairn(["audit"]).ok().prints("no finding");
}

#[test]
fn what_must_be_approved_waits_and_the_rest_is_done() {
    let sandbox = begun();
    let (ci, human) = (Person::new(), Person::new());
    let role = "release, promote, resume on staging, prod";
    sandbox
        .cairn(["key", "add", &ci.public, "--name", "ci", "--role", role])
        .ok();
    let add = [
        "key",
        "add",
        &human.public,
        "--name",
        "ada",
        "--group",
        "human",
        "--role",
        "rollback",
    ];
    sandbox.cairn(add).ok();
    rule(&sandbox, "requires = { human = 1 }");
    ci.cairn(&sandbox, ["release", "2", "--channel", "prod", "--dry-run"])
        .ok()
        .says("would wait for 1 signature of the group human");
    let release = ci
        .cairn(
            &sandbox,
            ["release", "2", "--channel", "prod", "--channel", "staging"],
        )
        .fails(6)
        .says(
            "the rest is done, but prod was not moved: waiting for 1 signature of the group human for prod",
        );
    let name = waiting(&release);
    // The version is released, and staging shows it.
    sandbox.cairn(["show", "2"]).ok().prints("staging");
    ci.cairn(&sandbox, ["approve", &name]).fails(6);
    sandbox.cairn(["approve", &name]).fails(1).says("does not help");
    // Messages call keys by their names.
    ci.cairn(&sandbox, ["yank", "1"])
        .fails(1)
        .says("key ci may not yank")
        .says(" (everything)");
    human
        .cairn(&sandbox, ["promote", "1", "staging"])
        .fails(1)
        .says("key ada may not promote to staging")
        .says("may: ")
        .says("ci (release, promote, resume)");
    human
        .cairn(&sandbox, ["approve", &name])
        .ok()
        .says("promote 2 to prod")
        .says("1 → 2");
    assert_eq!(sandbox.tagged("hello:prod"), sandbox.tagged("hello:2"));
    // A rollback waits for nobody; bringing it back does.
    human
        .cairn(&sandbox, ["rollback", "prod", "--reason", "500s"])
        .ok();
    ci.cairn(&sandbox, ["promote", "2", "prod"])
        .fails(6)
        .says(" UTC by key ada: \"500s\" (left 2)");
    let name = waiting(
        &ci.cairn(&sandbox, ["resume", "prod"])
            .fails(6)
            .says("nothing was resumed"),
    );
    human.cairn(&sandbox, ["approve", &name]).ok();
    // One's own group suffices for who is in it, and may.
    let both = [
        "key",
        "add",
        &human.public,
        "--role",
        "rollback",
        "--role",
        "promote on prod",
    ];
    sandbox.cairn(both).ok();
    human.cairn(&sandbox, ["promote", "2", "prod"]).ok();
    sandbox.cairn(["audit"]).ok().prints("no finding");
}

/// Copies the waiting entries of one local store into another, as whoever may write there can.
fn plant(from: &Sandbox, to: &Sandbox) -> usize {
    let layout = |sandbox: &Sandbox| sandbox.store().join("repos/hello/_layout");
    let mut tags = 0;
    for directory in ["blobs/sha256", "refs/manifests", "refs/tags"] {
        for entry in std::fs::read_dir(layout(from).join(directory)).unwrap() {
            let name = entry.unwrap().file_name();
            let is_waiting = name.to_str().unwrap().starts_with("cairn-w-");
            let target = layout(to).join(directory).join(&name);
            if (directory != "refs/tags" || is_waiting) && !target.exists() {
                std::fs::copy(layout(from).join(directory).join(&name), target).unwrap();
                tags += usize::from(is_waiting);
            }
        }
    }
    tags
}

#[test]
fn what_is_not_signed_by_a_key_of_the_ledger_does_not_wait() {
    let ann = Person::new();
    let ruled = || {
        let sandbox = begun();
        rule(&sandbox, "requires = { human = 1 }");
        let role = ["--group", "human", "--role", "promote on prod"];
        sandbox
            .cairn([&["key", "add", &ann.public], &role[..]].concat())
            .ok();
        sandbox
    };
    let sandbox = ruled();
    let name = waiting(&sandbox.cairn(["release", "2", "--channel", "prod"]).fails(6));
    // Another ledger's entry, put where this one's wait.
    let other = ruled();
    other.write_app("9");
    other.cairn(["release", "9", "--channel", "prod"]).fails(6);
    let copied = plant(&other, &sandbox);
    assert_eq!(copied, 1);
    let list = sandbox.cairn(["approve"]).ok();
    assert_eq!(list.stdout.lines().count(), 2, "{list}");
    let list = list.prints(&name).says("waiting-refused");
    assert!(list.stderr.contains("another ledger"), "{list}");
}

#[test]
fn the_glass_can_be_broken_where_the_rules_allow_it_and_is_ratified() {
    let sandbox = begun();
    let stranger = Person::new();
    sandbox.cairn(["release", "2", "--channel", "prod"]).ok();
    stranger
        .cairn(&sandbox, ["rollback", "prod", "--break-glass"])
        .fails(1)
        .says("may not roll back prod");
    rule(&sandbox, "glass = [\"rollback\"]");
    stranger.cairn(&sandbox, ["rollback", "prod"]).fails(1);
    stranger
        .cairn(&sandbox, ["promote", "1", "prod", "--break-glass"])
        .fails(1);
    sandbox
        .cairn(["rollback", "prod", "--break-glass", "--dry-run"])
        .ok()
        .says("not needed");
    let broken = stranger
        .cairn(
            &sandbox,
            ["rollback", "prod", "--break-glass", "--reason", "500s"],
        )
        .ok()
        .says("BREAKING THE GLASS")
        .says("2 → 1, held");
    let name = broken
        .stderr
        .split("cairn ratify ")
        .nth(1)
        .unwrap()
        .trim()
        .to_owned();
    let name = name.split_whitespace().next().unwrap().to_owned();
    // Everybody reads it as it stands, and audit says so until somebody who may accepts it.
    sandbox.cairn(["status"]).ok().prints("1");
    sandbox
        .cairn(["audit"])
        .exits(4)
        .prints("break-glass")
        .prints(&name);
    stranger.cairn(&sandbox, ["ratify", &name]).fails(1);
    let genesis = sandbox.cairn(["--json", "ledger", "head"]).ok().json();
    let genesis = genesis["genesis"].as_str().unwrap().to_owned();
    sandbox
        .cairn(["ratify", &genesis])
        .fails(1)
        .says("is no entry of a key");
    sandbox.cairn(["ratify", &name]).ok();
    sandbox.cairn(["ratify", &name]).ok().says("ratified before");
    sandbox.cairn(["history"]).ok().prints("(break-glass, ratified)");
    sandbox.cairn(["audit"]).ok().prints("no finding");
    sandbox.cairn(["resume", "prod"]).ok();
}

#[test]
fn a_recovery_key_brings_a_new_owner_when_all_others_are_lost() {
    let sandbox = begun();
    let (safe, ann) = (Person::new(), Person::new());
    sandbox
        .cairn(["key", "add", &safe.public, "--recovery"])
        .ok()
        .says("recovery key     none → SHA256:");
    std::fs::remove_file(sandbox.key()).unwrap();
    ann.cairn(&sandbox, ["rollback", "prod"]).fails(1);
    let safe_file = safe.own.key().display().to_string();
    let add = ["key", "add", &ann.public, "--name", "ann", "--role", "everything"];
    ann.cairn(&sandbox, add).fails(1).says("may not change keys");
    let recover = [
        "key",
        "add",
        &ann.public,
        "--name",
        "ann",
        "--role",
        "everything",
        "--recover-with",
        &safe_file,
    ];
    ann.cairn(&sandbox, recover).ok();
    ann.cairn(&sandbox, ["release", "2", "--channel", "prod"]).ok();
    // The recovery key changes keys, and nothing else.
    safe.cairn(&sandbox, ["rollback", "prod"]).fails(1);
    // It alone signs, and whoever is listed then appends what it signed.
    let bob = Person::new();
    let name = waiting(
        &safe
            .cairn(&sandbox, ["key", "add", &bob.public, "--role", "everything"])
            .fails(6),
    );
    bob.cairn(&sandbox, ["approve", &name]).ok();
    sandbox.cairn(["audit"]).ok().prints("no finding");
}

/// The digest of the ledger's newest head.
fn head(sandbox: &Sandbox, arguments: &[&str]) -> String {
    let mut command = sandbox.command(["ledger", "head"]);
    run(command.args(arguments)).ok().line().to_owned()
}

/// What each channel shows, of `status --json`.
fn shown(status: &serde_json::Value) -> Vec<[serde_json::Value; 3]> {
    let channels = status["channels"].as_array().unwrap();
    let one = |channel: &serde_json::Value| ["name", "digest", "version"].map(|key| channel[key].clone());
    channels.iter().map(one).collect()
}

#[test]
fn a_ledger_goes_on_from_one_whose_keys_are_lost() {
    let sandbox = begun();
    sandbox.cairn(["release", "2", "--channel", "prod"]).ok();
    rule(&sandbox, "floor = \"1\"");
    sandbox.cairn(["rollback", "prod", "--reason", "500s"]).ok();
    sandbox.write_app("3");
    sandbox.cairn(["release", "3", "--channel", "staging"]).ok();
    // Somebody else who has seen the old ledger.
    let seen = sandbox.root().join("elsewhere");
    let elsewhere = |arguments: &[&str]| run(sandbox.command(arguments).env("CAIRN_STATE", &seen));
    elsewhere(&["status"]).ok();
    std::fs::remove_file(sandbox.key()).unwrap();
    let old = head(&sandbox, &[]);
    let wrong = format!("sha256:{}", "0".repeat(64));
    sandbox
        .cairn(["ledger", "init", "--continues", &wrong])
        .fails(1)
        .says(&old);
    let before = sandbox.cairn(["--json", "status"]).ok().json();
    sandbox
        .cairn(["ledger", "init", "--continues", &old, "--dry-run"])
        .ok()
        .says("3 versions and 2 channels");
    let genesis = sandbox
        .cairn(["ledger", "init", "--continues", &old])
        .ok()
        .says("whose head is kept as cairn-old-");
    // Everything is as it was, and somebody may change it again.
    let after = sandbox.cairn(["--json", "status"]).ok().json();
    assert_eq!(shown(&before), shown(&after));
    sandbox
        .cairn(["promote", "2", "prod"])
        .fails(6)
        .says("500s")
        .says("(left 2)");
    sandbox.cairn(["resume", "prod"]).ok();
    sandbox.cairn(["promote", "3", "prod"]).ok();
    sandbox
        .cairn(["rollback", "prod", "--no-hold"])
        .ok()
        .says("3 → 1");
    sandbox.cairn(["ledger", "rules"]).ok().prints("prod: floor 1");
    sandbox.cairn(["audit"]).ok().prints("no finding");
    // Who has seen the old one is not led to another without being told.
    elsewhere(&["status"]).fails(4).says("FORK");
    let pin = genesis.line().to_owned();
    elsewhere(&["status", "--trust", &pin]).ok();
    elsewhere(&["status"]).ok();
}

#[test]
fn a_ledger_goes_on_at_the_new_home_of_a_copy() {
    let (sandbox, here, there) = (Sandbox::new(), Sandbox::new(), Sandbox::new());
    let (old, new) = (here.serve(), there.serve());
    let (from, to) = (old.repository("team/hello"), new.repository("team/moved"));
    sandbox.write_project(&Project::new().repository(&from), "1");
    sandbox.cairn(["release", "1", "--channel", "prod"]).ok();
    sandbox.write_app("2");
    sandbox.cairn(["release", "2", "--channel", "prod"]).ok();
    sandbox.cairn(["copy", &from, &to, "--ledger"]).ok();
    let at_home = ["--repository", to.as_str()];
    sandbox
        .cairn(["rollback", "prod", "--repository", &to])
        .fails(1)
        .says("is a copy");
    let name = head(&sandbox, &at_home);
    sandbox
        .cairn(["ledger", "init", "--repository", &to, "--continues", &name])
        .ok()
        .says("2 versions and 1 channel");
    sandbox
        .cairn(["rollback", "prod", "--repository", &to])
        .ok()
        .says("2 → 1, held");
    sandbox
        .cairn(["audit", "--repository", &to])
        .ok()
        .prints("no finding");
    // The old home is as it was.
    sandbox.cairn(["status"]).ok().prints("2");
}

#[test]
fn a_rule_that_nobody_can_meet_is_told_when_it_is_made_and_nothing_waits_for_it() {
    let sandbox = begun();
    let human = "requires = { human = 1 }";
    let project = Project::new().with(&format!("\n[ledger.channels.prod]\n{human}\n"));
    sandbox.write("cairn.toml", project.spec());
    let nobody = "its rules want 1 signature of the group human, and no key of the ledger is in it";
    let hint = "cairn key add KEY.pub --group human puts a listed key into it";
    for typed in [&["--apply", "--dry-run"][..], &["--apply"], &[]] {
        let typed = [&["ledger", "rules"], typed].concat();
        sandbox.cairn(typed).ok().says(nobody).says(hint);
    }
    // The version is released; nothing is left that would wait for somebody who is not there.
    let release = ["release", "2", "--channel", "prod", "--channel", "staging"];
    let dry = [&release[..], &["--dry-run"]].concat();
    sandbox.cairn(dry).fails(6).says(nobody).says(hint);
    let done = sandbox.cairn(release).fails(6).says(nobody).says(hint);
    done.says("released         2").says("staging now names 2");
    for _ in 0..2 {
        sandbox.cairn(["promote", "2", "prod"]).fails(6).says(nobody);
        sandbox.cairn(["switch", "prod", "staging"]).fails(6).says(nobody);
    }
    sandbox.cairn(["approve"]).ok().says("nothing waits");
    // It is told to whoever looks, and is no fault of the ledger.
    sandbox.cairn(["status"]).ok().says(nobody);
    let status = sandbox.cairn(["--json", "status"]).ok().json();
    assert_eq!(
        (
            &status["unmet"][0]["group"],
            &status["unmet"][0]["needs"],
            &status["unmet"][0]["has"]
        ),
        (&"human".into(), &1.into(), &0.into())
    );
    sandbox
        .cairn(["audit"])
        .ok()
        .prints("note         rule-unmet: prod");
    // With a key in the group it can be met.
    let ann = Person::new();
    let add = |more: &[&str]| {
        let add = ["key", "add", &ann.public, "--name", "ann", "--group", "human"];
        sandbox.cairn([&add, more].concat()).ok()
    };
    let quiet = add(&["--role", "promote on prod"]);
    assert!(!quiet.stderr.contains("nothing can move"), "{quiet}");
    let name = waiting(&sandbox.cairn(["promote", "2", "prod"]).fails(6));
    ann.cairn(&sandbox, ["approve", &name]).ok();
    // One whose time is over is in no group; and one that is taken out leaves the rule behind.
    add(&["--until", "2001-01-01"]).says(nobody);
    add(&["--until", "2999-01-01"]);
    for dry in [&["--dry-run"][..], &[]] {
        let typed = [&["key", "remove", "ann"], dry].concat();
        sandbox.cairn(typed).ok().says(nobody).says(hint);
    }
    // The way back is open; what it holds can be resumed when somebody can sign again.
    sandbox.cairn(["rollback", "prod"]).ok();
    sandbox.cairn(["resume", "prod"]).fails(6).says(nobody);
    add(&["--role", "resume on prod"]);
    let name = waiting(&sandbox.cairn(["resume", "prod"]).fails(6));
    let approved = ann.cairn(&sandbox, ["approve", &name]).ok();
    approved.says("prod is no longer held: releases may move it again");
}
