//! The page for three in the morning: what it shows is what is typed and what is seen.

use crate::harness::{Normaliser, Project, Sandbox, workspace};

/// The page.
const PAGE: &str = "docs/ledger.md";
/// Where the page's registry is.
const HOST: &str = "registry.example.org";
/// What begins the story on the page, and what ends it.
const FENCE: (&str, &str) = ("```console\n", "```\n");

/// Two releases on prod; then another machine, with a key and nothing else.
fn tell() -> String {
    let registry = Sandbox::new();
    let server = registry.serve();
    let (day, night) = (Sandbox::new(), Sandbox::new());
    let repository = server.repository("team/shop");
    for version in ["1.4.1", "1.4.2"] {
        day.write_project(&Project::new().repository(&repository), version);
        day.cairn(["release", version, "--channel", "prod"]).ok();
    }
    std::fs::create_dir_all(night.key().parent().expect("a directory")).expect("a directory");
    std::fs::copy(day.key(), night.key()).expect("a key");
    let steps: [(&[&str], i32); 9] = [
        (&["status"], 0),
        (&["rollback", "prod", "--dry-run"], 0),
        (&["rollback", "prod", "--reason", "500s on checkout"], 0),
        (&["status"], 0),
        (&["rollback", "prod"], 0),
        (&["history", "--limit", "2"], 0),
        (&["promote", "1.4.2", "prod"], 6),
        (&["resume", "prod"], 0),
        (&["audit"], 0),
    ];
    let mut story = String::new();
    for (step, code) in steps {
        let output = night
            .cairn([step, &["--repository", &repository]].concat())
            .exits(code);
        story.push_str(&format!("{output}\n"));
    }
    let host = repository.split('/').next().expect("a host");
    story.trim_end().replace(host, HOST) + "\n"
}

/// Digests, keys and times as they are in every run, and columns as wide as they need to be.
fn normal(story: &str) -> String {
    let text = Normaliser::new(std::path::Path::new("/nowhere")).text(story);
    let lines = text
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn what_the_page_for_the_night_shows_is_what_is_seen() {
    let file = workspace().join(PAGE);
    let page = std::fs::read_to_string(&file).expect("a page");
    let start = page.find(FENCE.0).expect("a story") + FENCE.0.len();
    let end = start + page[start..].find(FENCE.1).expect("an end");
    let story = tell();
    if std::env::var_os("CAIRN_BLESS").is_some_and(|value| !value.is_empty()) {
        if normal(&page[start..end]) != normal(&story) {
            let written = format!("{}{story}{}", &page[..start], &page[end..]);
            std::fs::write(file, written).expect("an own file");
        }
        return;
    }
    assert_eq!(
        normal(&page[start..end]),
        normal(&story),
        "`make bless` writes it anew"
    );
}

/// What the README tells, and where that ends.
const README: (&str, &str) = ("## Five minutes", "## Keep your Dockerfile");

/// The commands that the README shows, each with what it prints, but for the server, which does not end.
fn shown(readme: &str) -> Vec<(String, String)> {
    let start = readme.find(README.0).expect("five minutes");
    let end = readme.find(README.1).expect("an end");
    let blocks = readme[start..end].split(FENCE.0).skip(1);
    let console: String = blocks.filter_map(|block| block.split(FENCE.1).next()).collect();
    let steps = console.split("$ cairn ").skip(1).map(|step| {
        let (command, output) = step.split_once('\n').expect("a line");
        (command.to_owned(), output.to_owned())
    });
    steps.filter(|(command, _)| command != "serve").collect()
}

/// The same without sizes and counts, which are another program's.
fn formal(text: &str) -> String {
    let words = |line: &str| {
        let word = |word: &str| match word.trim_end_matches(',') {
            "B" | "kB" | "MB" => "B".to_owned(),
            other if other.contains('[') => other.to_owned(),
            other => other.replace(|c: char| c.is_ascii_digit() || c == '.', ""),
        };
        line.split_whitespace().map(word).collect::<Vec<_>>().join(" ")
    };
    normal(text).lines().map(words).collect::<Vec<_>>().join("\n")
}

#[test]
fn what_the_readme_shows_is_what_is_seen() {
    let readme = std::fs::read_to_string(workspace().join("README.md")).expect("a page");
    let steps = shown(&readme);
    assert!(steps.len() > 6, "{steps:?}");
    let sandbox = Sandbox::new();
    let user = "\n[[user]]\nname = \"app\"\nuid = 10001\n";
    sandbox.write_project(&Project::new().with(user), "1");
    for (command, output) in steps {
        if command.starts_with("release 2.0.0") {
            sandbox.write_app("2");
        }
        let arguments = command
            .split('"')
            .enumerate()
            .flat_map(|(at, part)| match at % 2 {
                0 => part.split_whitespace().map(str::to_owned).collect::<Vec<_>>(),
                _ => vec![part.to_owned()],
            });
        let seen = sandbox.cairn(arguments).ok();
        let seen = format!("{}{}", seen.stderr, seen.stdout);
        assert_eq!(formal(&seen), formal(&output), "cairn {command}");
    }
}
