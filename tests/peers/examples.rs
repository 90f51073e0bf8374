//! The examples: each is prepared as its README says, built, pushed, pulled by podman, run, and asked.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::http;
use super::podman::Podman;
use crate::harness::{Output, Sandbox, binary, run, skip, tool, workspace};

/// An example, and what it needs beside Cairn.
struct Example {
    name: &'static str,
    /// The directory with the spec, below the example's.
    directory: &'static str,
    /// Programs that its `prepare.sh` runs.
    tools: &'static [&'static str],
    /// What the container is told, beside ADDRESS and PORT; `PORT` stands for the port.
    arguments: &'static [&'static str],
    /// What is asked for.
    path: &'static str,
    answer: &'static str,
}

const SITE: Example = Example {
    name: "site",
    directory: ".",
    tools: &["apt-get", "dpkg-deb"],
    arguments: &["-p", "127.0.0.1:PORT", "-h", "/srv/www"],
    path: "/",
    answer: "Every release is a stone.",
};
const PYTHON: Example = Example {
    name: "python",
    directory: ".",
    tools: &["mmdebstrap", "python3"],
    arguments: &[],
    path: "/",
    answer: "Hello from Python\n",
};
const NODE: Example = Example {
    name: "node",
    directory: ".",
    tools: &["mmdebstrap", "npm"],
    arguments: &[],
    path: "/",
    answer: "Hello from Node.js\n",
};
const JAVA: Example = Example {
    name: "java",
    directory: ".",
    tools: &["mmdebstrap", "javac", "jar"],
    arguments: &[],
    path: "/",
    answer: "Hello from Java\n",
};

const CAIRN: Example = Example {
    name: "cairn",
    directory: ".",
    tools: &["ldd", "strip"],
    arguments: &["--listen", "127.0.0.1:PORT"],
    path: "/healthz",
    answer: "ok\n",
};

const PAGES: Example = Example {
    name: "workspace",
    directory: "web",
    tools: &["apt-get", "dpkg-deb"],
    arguments: &["-p", "127.0.0.1:PORT", "-h", "/srv/www"],
    path: "/",
    answer: "Every image has its own pages",
};
const QUESTIONS: Example = Example {
    directory: "api",
    arguments: &["-p", "127.0.0.1:PORT", "-h", "/srv/api"],
    path: "/cgi-bin/stock?stones",
    answer: "In stock: stones\n",
    ..PAGES
};

/// The example in a sandbox, with the inputs that `prepare.sh` makes; none where they cannot be made.
fn prepare(example: &Example, sandbox: &Sandbox) -> Option<PathBuf> {
    for program in example.tools {
        tool(program)?;
    }
    for part in ["bases", example.name] {
        copy_tracked(
            &workspace().join("examples").join(part),
            &sandbox.project().join(part),
        );
    }
    let directory = sandbox.project().join(example.name);
    let mut command = Command::new(directory.join("prepare.sh"));
    sandbox.confine(&mut command);
    // Which Python, and from where pip and npm take packages, is the machine's to say.
    for (name, value) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if [
            "HOME",
            "PYENV",
            "PIP_",
            "npm_config",
            "NPM_CONFIG",
            "http",
            "HTTP",
            "no_proxy",
            "NO_PROXY",
        ]
        .iter()
        .any(|start| text.starts_with(start))
        {
            command.env(name, value);
        }
    }
    command.env("CAIRN", binary());
    let output = run(&mut command);
    if output.code != Some(0) {
        let reason = output.stderr.lines().last().unwrap_or_default().to_owned();
        skip(&format!(
            "examples/{} cannot be prepared here: {reason}",
            example.name
        ));
        return None;
    }
    Some(directory)
}

/// Copies what git knows of a directory, so that what a developer has beside it does not help.
pub(super) fn copy_tracked(from: &Path, to: &Path) {
    let list = run(Command::new("git").arg("-C").arg(from).args([
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]));
    let list = list.ok().stdout;
    for path in list.split('\0').filter(|path| !path.is_empty()) {
        let target = to.join(path);
        std::fs::create_dir_all(target.parent().expect("a file has a directory")).expect("an own directory");
        std::fs::copy(from.join(path), target).expect("a file of the example");
    }
}

fn cairn(sandbox: &Sandbox, directory: &Path, arguments: &[&str]) -> Output {
    let mut command = sandbox.command(arguments);
    run(command.current_dir(directory))
}

/// Locked as it is in the repository, or anew where this machine's packages are others than the lock's.
#[track_caller]
fn build(sandbox: &Sandbox, directory: &Path) -> String {
    let locked = cairn(sandbox, directory, &["build", "--locked"]);
    if locked.code == Some(0) {
        return locked.digest();
    }
    assert!(locked.stderr.contains("cairn lock --update"), "{}", locked.stderr);
    cairn(sandbox, directory, &["lock", "--update"]).ok();
    cairn(sandbox, directory, &["build", "--locked"]).ok().digest()
}

#[track_caller]
fn runs(example: &Example) {
    let (sandbox, registry) = (Sandbox::new(), Sandbox::new());
    let Some(directory) = prepare(example, &sandbox) else {
        return;
    };
    let directory = directory.join(example.directory);
    let digest = build(&sandbox, &directory);
    assert_eq!(
        cairn(&sandbox, &directory, &["build", "--locked"]).ok().digest(),
        digest
    );
    cairn(&sandbox, &directory, &["verify"]).ok();

    let Some(podman) = Podman::find(&sandbox) else {
        return;
    };
    let server = registry.serve();
    let repository = server.repository(example.name);
    let image = format!("{repository}@{digest}");
    let name = std::fs::read_to_string(directory.join("cairn.toml")).expect("a spec");
    let name = name
        .lines()
        .find_map(|line| line.strip_prefix("name "))
        .expect("a name");
    let name = name.trim_start_matches([' ', '=']).trim_matches('"').to_owned();
    cairn(
        &sandbox,
        &directory,
        &["copy", &format!("{name}:built"), &format!("{repository}:1")],
    )
    .ok();

    let port = free_port();
    let arguments: Vec<_> = example
        .arguments
        .iter()
        .map(|argument| argument.replace("PORT", &port))
        .collect();
    let container = podman.start_at(example.name, &image, &port, &arguments);
    assert_eq!(container.digest(), digest);
    let host = format!("127.0.0.1:{port}");
    let answer = http::wait_for(&host, example.path, || container.logs());
    assert!(answer.contains(example.answer), "{answer}");
}

/// A port that nobody listens on now. The container says only in words of its own which one it took, so it is told.
pub(super) fn free_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port().to_string()
}

#[test]
fn a_static_site_is_served() {
    runs(&SITE);
}

#[test]
fn a_python_application_from_wheels_answers() {
    runs(&PYTHON);
}

#[test]
fn a_node_service_with_its_modules_answers() {
    runs(&NODE);
}

#[test]
fn a_jar_on_a_base_image_answers() {
    runs(&JAVA);
}

#[test]
fn cairn_as_an_image_of_its_own_answers() {
    runs(&CAIRN);
}

#[test]
fn two_images_of_a_workspace_answer() {
    runs(&PAGES);
    runs(&QUESTIONS);
}
