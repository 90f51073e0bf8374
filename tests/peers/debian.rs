//! The examples with packages of Debian: locked and built with what this machine's mirror has, released, and run.
//!
//! Without a mirror they are skipped. What packages are to Cairn is tested without one, on a small archive that the tests make.

use std::fs;
use std::path::{Path, PathBuf};

use super::examples::{copy_tracked, free_port};
use super::http;
use super::podman::{Container, Podman};
use crate::harness::{Output, Sandbox, run, skip, workspace};

/// What is told to every command: where this machine has its packages from.
const TOLD: [&str; 4] = ["CAIRN_DEBIAN_MIRROR", "http_proxy", "https_proxy", "no_proxy"];
/// The most bytes that are kept of downloads for other tests and for the next run.
const KEPT: u64 = 1 << 30;

/// A copy of an example that can be changed, built and released.
struct Example<'a> {
    sandbox: &'a Sandbox,
    directory: PathBuf,
}

impl<'a> Example<'a> {
    /// The example, locked and built; none without a mirror. `changes` are made
    /// in its files before that.
    #[track_caller]
    fn build(
        name: &str,
        sandbox: &'a Sandbox,
        changes: &[(&str, &str, &str)],
        repository: &str,
    ) -> Option<Self> {
        let example = Self {
            sandbox,
            directory: sandbox.project().join(name),
        };
        copy_tracked(&workspace().join("examples").join(name), &example.directory);
        let section = format!("[image]\nrepository = \"{repository}\"");
        example.change("cairn.toml", "[image]", &section);
        for (file, from, to) in changes {
            example.change(file, from, to);
        }
        let kept = sandbox.store().join("cache/sha256");
        fs::create_dir_all(&kept).expect("a directory in an own one");
        copy(&downloads(), &kept);
        let locked = example.cairn(&["lock"]);
        if locked.code == Some(3) || locked.stderr.contains("no source of packages is known") {
            let reason = locked.stderr.lines().next().unwrap_or_default();
            skip(&format!("no packages of Debian can be had here: {reason}"));
            return None;
        }
        locked.ok();
        example.cairn(&["build", "--locked"]).ok();
        keep(&kept);
        Some(example)
    }

    /// Changes a file of the example as a developer does.
    #[track_caller]
    fn change(&self, file: &str, from: &str, to: &str) {
        let path = self.directory.join(file);
        let text = fs::read_to_string(&path).expect("a file of the example");
        assert!(text.contains(from), "{from} in {file}");
        fs::write(path, text.replace(from, to)).expect("an own file");
    }

    fn cairn(&self, arguments: &[&str]) -> Output {
        let mut command = self.sandbox.command(arguments);
        command.current_dir(&self.directory);
        for name in TOLD {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        run(&mut command)
    }

    /// Releases `version` to prod: the repository with the digest, as it is printed.
    #[track_caller]
    fn release(&self, version: &str) -> String {
        self.moved(&["release", version, "--channel", "prod"])
    }

    /// The same for any command that prints it.
    #[track_caller]
    fn moved(&self, arguments: &[&str]) -> String {
        self.cairn(arguments).ok().line().to_owned()
    }
}

/// Where downloads are kept: beside the profile's directory in which the tests run, `target/<profile>/deps`.
fn downloads() -> PathBuf {
    let tests = std::env::current_exe().expect("the test knows its own path");
    let target = tests
        .ancestors()
        .nth(3)
        .expect("a test runs in target/<profile>/deps");
    let directory = target.join("test-packages");
    fs::create_dir_all(&directory).expect("a directory in target/");
    directory
}

/// Keeps what was downloaded for other tests, each file under the name of its digest.
fn keep(cache: &Path) {
    let directory = downloads();
    let files = fs::read_dir(&directory).expect("an own directory").flatten();
    let bytes: u64 = files
        .filter_map(|file| file.metadata().ok())
        .map(|file| file.len())
        .sum();
    if bytes > KEPT {
        fs::remove_dir_all(&directory).expect("an own directory");
    }
    copy(cache, &downloads());
}

/// Copies the files of a directory that the other lacks. A copy gets its name when it is whole, so tests may do this at once.
fn copy(from: &Path, to: &Path) {
    for file in fs::read_dir(from).expect("an own directory").flatten() {
        let target = to.join(file.file_name());
        if target.exists() {
            continue;
        }
        let copy = tempfile::NamedTempFile::new_in(to).expect("a file in an own directory");
        // Another test may be emptying the directory.
        if fs::copy(file.path(), copy.path()).is_ok() {
            copy.persist(target).expect("a file in an own directory");
        }
    }
}

#[test]
fn flask_goes_from_version_1_to_2_and_back_on_a_root_that_nobody_writes_to() {
    let (sandbox, registry) = (Sandbox::new(), Sandbox::new());
    let Some(podman) = Podman::find_for_many_layers(&sandbox) else {
        return;
    };
    let server = registry.serve();
    let repository = server.repository("team/flask");
    let Some(flask) = Example::build("flask", &sandbox, &[], &repository) else {
        return;
    };
    let runs = |name: &str, released: &str, answer: &str| {
        let container = podman.start_read_only(name, &format!("{repository}:prod"));
        assert_eq!(container.answer(), answer);
        assert_eq!(format!("{repository}@{}", container.digest()), released);
        container
    };
    let first = flask.release("1.0.0");
    let container = runs("first", &first, "Hello, World! Version 1\n");
    assert_eq!(container.user(), "10001:10001");
    let edit = "open('/srv/app/app.py', 'a')";
    let edited = container.exec(&["/usr/bin/python3", "-c", edit]);
    assert!(edited.exits(1).stderr.contains("Read-only file system"));
    drop(container);

    flask.change("app.py", "Version 1", "Version 2");
    let second = flask.release("2.0.0");
    runs("second", &second, "Hello, World! Version 2\n");
    let back = flask.moved(&["rollback", "prod", "--reason", "500s"]);
    assert_eq!(back, first);
    runs("third", &first, "Hello, World! Version 1\n");
    flask.cairn(&["verify"]).ok();
    flask.cairn(&["audit"]).ok();
}

#[test]
fn a_pod_of_nginx_writes_in_its_volumes_alone_and_keeps_what_must_last() {
    let (sandbox, registry) = (Sandbox::new(), Sandbox::new());
    let Some(podman) = Podman::find_for_many_layers(&sandbox) else {
        return;
    };
    let server = registry.serve();
    let host = format!("127.0.0.1:{}", free_port());
    // The network is the machine's, so the port is one that is free.
    let listen = ("nginx.conf", "listen 8080", &*format!("listen {host}"));
    let ports = "      ports:\n        - containerPort: 8080\n          hostPort: 8080\n";
    let changes = [listen, ("pod.yaml", ports, "")];
    let repository = server.repository("team/nginx");
    let Some(nginx) = Example::build("nginx", &sandbox, &changes, &repository) else {
        return;
    };
    let play = |released: &str| {
        let manifest = nginx.directory.join("pod.yaml");
        let text = fs::read_to_string(manifest).expect("a file of the example");
        let text = text.replace("image: IMAGE", &format!("image: {released}"));
        let manifest = sandbox.write("../pod.yaml", text);
        let pod = podman.play(&manifest);
        // Dropped in this order.
        (pod.container("nginx-pod-nginx"), pod)
    };
    let first = nginx.release("1.0.0");
    let (container, pod) = play(&first);
    assert!(ask(&container, &host, "/").contains("Version 1"));
    assert!(first.ends_with(&container.digest()));
    for (directory, is_written) in [
        ("/", false),
        ("/etc/nginx", false),
        ("/srv", false),
        ("/srv/www", false),
        ("/tmp", false),
        ("/usr/sbin", false),
        ("/var/lib/nginx", false),
        ("/var/log/nginx", false),
        ("/run", true),
        ("/var/cache/nginx", true),
        ("/var/run", true),
    ] {
        // nginx is the only program in the image; it opens the log that it is told of, and then finds that this is no configuration.
        let file = format!("{directory}/written");
        let tried = container.exec(&["/usr/sbin/nginx", "-e", &file, "-c", "/dev/null"]);
        let refused = tried.stderr.contains("(30: Read-only file system)");
        assert!(tried.stderr.contains("no \"events\" section"), "{tried}");
        assert_eq!(refused, !is_written, "{directory}: {tried}");
    }
    http::put(&host, "/notes/first", "left in version 1");
    drop((container, pod));

    nginx.change("public/index.html", "Version 1", "Version 2");
    let running = play(&nginx.release("2.0.0"));
    assert!(ask(&running.0, &host, "/").contains("Version 2"));
    assert_eq!(ask(&running.0, &host, "/notes/first"), "left in version 1");
    http::put(&host, "/notes/second", "left in version 2");
    drop(running);

    let back = nginx.moved(&["rollback", "prod"]);
    assert_eq!(back, first);
    let running = play(&back);
    assert!(ask(&running.0, &host, "/").contains("Version 1"));
    assert_eq!(ask(&running.0, &host, "/notes/first"), "left in version 1");
    assert_eq!(ask(&running.0, &host, "/notes/second"), "left in version 2");
}

#[test]
fn a_large_tree_of_packages_computes() {
    let (sandbox, registry) = (Sandbox::new(), Sandbox::new());
    let server = registry.serve();
    let repository = server.repository("team/science");
    let Some(science) = Example::build("science", &sandbox, &[], &repository) else {
        return;
    };
    science.cairn(&["verify"]).ok();
    let Some(podman) = Podman::find_for_many_layers(&sandbox) else {
        return;
    };
    if !podman.mounts_layers() {
        skip("podman cannot mount layers here, and would copy a large tree dozens of times");
        return;
    }
    let pushed = science.moved(&["push"]);
    let said = podman.run_image(&pushed).ok();
    assert_eq!(said.stdout, "height = 2.0 * day + 1.0\n");
}

/// What a container's server answers, once it does.
#[track_caller]
fn ask(container: &Container, host: &str, path: &str) -> String {
    http::wait_for(host, path, || container.logs())
}
