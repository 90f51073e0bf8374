//! What the documentation shows is so: its specs are specs, its list of options is the program's.

use std::process::Command;

use crate::harness::{Sandbox, golden, run, workspace};

/// The blocks of a Markdown page in one language, with the line that each begins in.
fn blocks(page: &str, language: &str) -> Vec<(usize, String)> {
    let fence = format!("```{language}");
    let mut found = Vec::new();
    let mut inside: Option<(usize, String)> = None;
    for (index, line) in page.lines().enumerate() {
        match &mut inside {
            None if line.trim_end() == fence => inside = Some((index + 2, String::new())),
            None => {}
            Some(_) if line.trim_end() == "```" => found.extend(inside.take()),
            Some((_, text)) => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    found
}

#[test]
fn every_spec_in_the_documentation_is_one() {
    let mut count = 0;
    for path in ["README.md", "docs/spec.md"] {
        let page = std::fs::read_to_string(workspace().join(path)).unwrap();
        for (line, text) in blocks(&page, "toml") {
            count += 1;
            // A lock is TOML too, and says so.
            if text.contains("output = ") {
                assert!(
                    cairn_build::Lock::parse(&text).is_ok(),
                    "{path}:{line} is no lock: {:?}",
                    cairn_build::Lock::parse(&text).err()
                );
                continue;
            }
            // Members of a workspace are read with it by the crate's tests.
            let read = match text.contains("[workspace]") {
                true => cairn_build::Workspace::parse(&text).map(|_| ()),
                false => cairn_build::Spec::parse(&text).map(|_| ()),
            };
            if let Some(findings) = read.err().filter(|_| !text.contains("workspace = true")) {
                panic!("{path}:{line} is no spec: {findings:#?}");
            }
        }
    }
    assert!(count >= 4, "the pages have specs; found {count}");
}

/// The verbs and their own verbs, as the program lists them.
fn verbs(sandbox: &Sandbox, above: &[&str]) -> Vec<String> {
    let arguments = above.iter().copied().chain(["--help"]);
    let help = sandbox.cairn(arguments).ok().stdout;
    let commands = help.split("\nCommands:\n").nth(1).unwrap_or_default();
    let lines = commands.lines().take_while(|line| !line.is_empty());
    lines
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|verb| *verb != "help")
        .map(str::to_owned)
        .collect()
}

/// A verb's help, without the options that every verb has.
fn help(sandbox: &Sandbox, verb: &[&str]) -> (String, String) {
    let arguments = verb.iter().copied().chain(["--help"]);
    let text = sandbox.cairn(arguments).ok().stdout;
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    let text = lines.join("\n");
    match text.split_once("\n\nGlobal options:\n") {
        Some((own, global)) => (own.to_owned(), global.trim_end().to_owned()),
        None => panic!("{verb:?} has no global options:\n{text}"),
    }
}

#[test]
fn the_reference_of_the_command_line_is_what_the_program_says() {
    let sandbox = Sandbox::new();
    let (own, global) = help(&sandbox, &[]);
    let mut page = format!(
        "# Command line\n\nWritten by the tests from what `cairn --help` says (`make bless`).\n\n\
         ```text\n{own}\n```\n\n## Global options\n\n```text\n{global}\n```\n"
    );
    for verb in verbs(&sandbox, &[]) {
        let (own, same) = help(&sandbox, &[&verb]);
        assert_eq!(same, global, "the global options of {verb}");
        page.push_str(&format!("\n## cairn {verb}\n\n```text\n{own}\n```\n"));
        for below in verbs(&sandbox, &[&verb]) {
            let (own, _) = help(&sandbox, &[&verb, &below]);
            page.push_str(&format!("\n### cairn {verb} {below}\n\n```text\n{own}\n```\n"));
        }
    }
    golden("docs/cli.md", &page);
}

#[test]
fn the_example_builds() {
    let sandbox = Sandbox::new();
    let example = workspace().join("examples/hello");
    for name in ["cairn.toml", "README.md"] {
        sandbox.write(name, std::fs::read(example.join(name)).unwrap());
    }
    // Any file will do for a build; what the demo and the tests with podman run is the compiled one.
    sandbox.write("dist/amd64/hello", "a program\n");
    sandbox.cairn(["build"]).ok();
    sandbox.cairn(["verify"]).ok().prints("whole");
}

#[test]
fn a_written_spec_builds() {
    let sandbox = Sandbox::new();
    sandbox.cairn(["init", "--name", "hello"]).ok();
    sandbox.write("dist/app", "a program\n");
    sandbox.cairn(["build"]).ok();
    // Never over another.
    let before = std::fs::read(sandbox.project().join("cairn.toml")).unwrap();
    sandbox.cairn(["init"]).fails(1);
    assert_eq!(
        std::fs::read(sandbox.project().join("cairn.toml")).unwrap(),
        before
    );
}

#[test]
fn completions_are_scripts() {
    let sandbox = Sandbox::new();
    let script = sandbox.cairn(["completions", "bash"]).ok().stdout;
    let file = sandbox.write("completion.bash", script);
    let mut bash = Command::new("bash");
    sandbox.confine(&mut bash);
    run(bash.arg("-n").arg(file)).ok();
}
