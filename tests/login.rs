//! Signing in to a registry: what is asked, what is kept where, and who never sees it.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::harness::{Guard, Output, PASSWORD, Sandbox, USER, run, run_with, skip, tool, workspace};

/// `cairn login`, with the password on stdin.
fn login(sandbox: &Sandbox, host: &str, password: &str) -> Output {
    let arguments = ["login", host, "--user", USER, "--password-stdin"];
    hidden(run_with(&mut sandbox.command(arguments), password))
}

/// An output without a secret.
#[track_caller]
fn hidden(output: Output) -> Output {
    let text = output.to_string();
    assert!(!text.contains("sentinel"), "a secret is shown:\n{text}");
    output
}

fn docker_config(sandbox: &Sandbox) -> PathBuf {
    sandbox.home().join(".docker/config.json")
}

#[track_caller]
fn write_config(sandbox: &Sandbox, text: &str) -> PathBuf {
    let path = docker_config(sandbox);
    fs::create_dir_all(path.parent().expect("a file has a directory")).unwrap();
    fs::write(&path, text).unwrap();
    path
}

/// A helper `x` that keeps what it is given in `kept` in its directory, which is the first of `PATH`.
fn helper(sandbox: &Sandbox, script: &str) -> PathBuf {
    let directory = sandbox.root().join("bin");
    fs::create_dir_all(&directory).unwrap();
    let program = workspace().join("crates/cli/fixtures/docker-credential-script");
    symlink(program, directory.join("docker-credential-x")).unwrap();
    fs::write(directory.join("script"), script).unwrap();
    directory
}

fn with_path(sandbox: &Sandbox, directory: &std::path::Path, arguments: &[&str]) -> Command {
    let mut command = sandbox.command(arguments);
    let path = std::env::var("PATH").unwrap();
    command.env("PATH", format!("{}:{path}", directory.display()));
    command
}

const KEEPER: &str = r#"
cd "${0%/*}"
case $1 in
    get) [ -f kept ] && exec cat kept; echo credentials not found in native keychain; exit 1 ;;
    store) exec cat > kept ;;
    erase) exec rm kept ;;
esac
"#;

#[test]
fn what_a_registry_accepts_is_kept_and_used_until_logout() {
    for (guard, wanted) in [
        (Guard::with_tokens(), "token"),
        (Guard::with_password(), "password"),
    ] {
        let sandbox = Sandbox::new();
        let host = guard.host();
        let repository = guard.repository("team/hello");
        let refused = hidden(sandbox.cairn(["tags", &repository])).fails(3);
        refused
            .says(&repository)
            .says(&format!("hint: cairn login {host}"));

        let signed_in = login(&sandbox, host, PASSWORD).ok();
        let path = docker_config(&sandbox);
        signed_in.says(&format!(
            "signed in to {host} as {USER}; kept in {}",
            path.display()
        ));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(hidden(sandbox.cairn(["tags", &repository])).ok().line(), "1.0.0");
        let last = format!("GET /v2/team/hello/tags/list?n=1000 {wanted}");
        assert_eq!(guard.asked().last(), Some(&last));

        let signed_out = sandbox.cairn(["logout", host]).ok();
        signed_out.says(&format!("signed out of {host}; removed from {}", path.display()));
        assert!(!fs::read_to_string(&path).unwrap().contains(host));
        sandbox.cairn(["tags", &repository]).fails(3);
        sandbox.cairn(["logout", host]).ok().says("not signed in");
    }
}

#[test]
fn what_a_registry_does_not_accept_is_not_kept() {
    for guard in [Guard::with_tokens(), Guard::with_password()] {
        let sandbox = Sandbox::new();
        let refused = login(&sandbox, guard.host(), "wrong-sentinel\n").fails(3);
        refused
            .says("the credentials were not accepted")
            .says("nothing was kept");
        assert!(!docker_config(&sandbox).exists());
    }
    let sandbox = Sandbox::new();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let host = nobody.local_addr().unwrap().to_string();
    drop(nobody);
    login(&sandbox, &host, PASSWORD).fails(3).says("cannot reach");
    assert!(!docker_config(&sandbox).exists());
}

#[test]
fn a_registry_that_asks_nobody_is_said_to_have_checked_nothing() {
    let (sandbox, registry) = (Sandbox::new(), Sandbox::new());
    let server = registry.serve();
    let signed_in = login(&sandbox, server.host(), PASSWORD).ok();
    signed_in.says("warning: ").says("did not ask for a password");
    assert!(docker_config(&sandbox).exists());
}

#[test]
fn what_else_is_in_the_file_stays() {
    let (sandbox, guard) = (Sandbox::new(), Guard::with_tokens());
    let before = r#"{"auths":{"other.example.org":{"auth":"YTpi"}},"proxies":{"default":{"httpProxy":"x"}}}"#;
    let path = write_config(&sandbox, before);
    login(&sandbox, guard.host(), PASSWORD).ok();
    let read = || serde_json::from_slice::<serde_json::Value>(&fs::read(&path).unwrap()).unwrap();
    let after = read();
    assert_eq!(after["proxies"]["default"]["httpProxy"], "x");
    assert_eq!(after["auths"]["other.example.org"]["auth"], "YTpi");
    assert_eq!(after["auths"].as_object().unwrap().len(), 2);
    sandbox.cairn(["logout", guard.host()]).ok();
    assert_eq!(read(), serde_json::from_str::<serde_json::Value>(before).unwrap());
}

#[test]
fn the_file_that_counts_is_the_one_that_is_written() {
    let (sandbox, guard) = (Sandbox::new(), Guard::with_tokens());
    // Podman's file has an entry that is wrong by now, and goes first.
    let podman = sandbox.home().join("config/containers/auth.json");
    fs::create_dir_all(podman.parent().unwrap()).unwrap();
    fs::write(
        &podman,
        format!(r#"{{"auths":{{"{}":{{"auth":"YTpi"}}}}}}"#, guard.host()),
    )
    .unwrap();
    let repository = guard.repository("team/hello");
    sandbox
        .cairn(["tags", &repository])
        .fails(3)
        .says("the credentials were not accepted");
    let signed_in = login(&sandbox, guard.host(), PASSWORD).ok();
    signed_in.says(&podman.display().to_string());
    sandbox.cairn(["tags", &repository]).ok();
    assert!(!docker_config(&sandbox).exists());

    for variable in ["REGISTRY_AUTH_FILE", "DOCKER_CONFIG"] {
        let place = sandbox.root().join(variable);
        let arguments = ["login", guard.host(), "-u", USER, "--password-stdin"];
        run_with(sandbox.command(arguments).env(variable, &place), PASSWORD).ok();
        let file = if variable == "DOCKER_CONFIG" {
            place.join("config.json")
        } else {
            place
        };
        assert!(fs::read_to_string(file).unwrap().contains(guard.host()));
    }
}

#[test]
fn entries_for_repositories_count_for_them_alone() {
    let (sandbox, guard) = (Sandbox::new(), Guard::with_password());
    // ann:pass-sentinel
    let good = "YW5uOnBhc3Mtc2VudGluZWw=";
    let host = guard.host();
    write_config(
        &sandbox,
        &format!(r#"{{"auths":{{"{host}":{{"auth":"YTpi"}},"{host}/team":{{"auth":"{good}"}}}}}}"#),
    );
    sandbox.cairn(["tags", &guard.repository("team/hello")]).ok();
    sandbox.cairn(["tags", &guard.repository("teams/hello")]).fails(3);
    let asked = guard.asked();
    assert!(
        asked
            .last()
            .unwrap()
            .ends_with("/v2/teams/hello/tags/list?n=1000 stranger"),
        "{asked:?}"
    );
}

#[test]
fn a_helper_keeps_it_where_one_is_named() {
    let (sandbox, guard) = (Sandbox::new(), Guard::with_tokens());
    let bin = helper(&sandbox, KEEPER);
    let path = write_config(&sandbox, r#"{"credsStore":"x"}"#);
    let host = guard.host();
    let arguments = ["login", host, "--user", USER, "--password-stdin"];
    let signed_in = hidden(run_with(&mut with_path(&sandbox, &bin, &arguments), PASSWORD)).ok();
    signed_in.says("kept in docker-credential-x");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(host) && !text.contains("auth\":"), "{text}");
    assert!(fs::read_to_string(bin.join("kept")).unwrap().contains(PASSWORD));
    let repository = guard.repository("team/hello");
    hidden(run(&mut with_path(&sandbox, &bin, &["tags", &repository]))).ok();
    let signed_out = run(&mut with_path(&sandbox, &bin, &["logout", host])).ok();
    signed_out.says("config.json, docker-credential-x");
    assert!(!bin.join("kept").exists());
    run(&mut with_path(&sandbox, &bin, &["tags", &repository]))
        .fails(3)
        .says("cairn login");
}

#[test]
fn h3_a_helper_that_is_no_help_is_named_and_nobody_else_is_asked() {
    let (sandbox, guard) = (Sandbox::new(), Guard::with_tokens());
    let host = guard.host();
    let bin = helper(&sandbox, "echo 'the vault is sealed'; exit 1");
    let repository = guard.repository("team/hello");
    let config = |name: &str| {
        format!(r#"{{"credHelpers":{{"{host}":"{name}"}},"auths":{{"x.org":{{"auth":"YTpi"}}}}}}"#)
    };
    for (name, says) in [
        ("x", "docker-credential-x failed: the vault is sealed"),
        (
            "none-of-these",
            "docker-credential-none-of-these is in no directory of PATH",
        ),
        (
            "../bin/docker-credential-x",
            "is not the name of a credential helper",
        ),
    ] {
        write_config(&sandbox, &config(name));
        let output = run(&mut with_path(&sandbox, &bin, &["tags", &repository])).fails(3);
        output
            .says("credentials for")
            .says(&repository)
            .says("config.json names for")
            .says(says);
    }
    assert!(guard.asked().iter().all(|asked| asked.ends_with("nobody")));
}

#[test]
fn h6_a_spoilt_file_is_named_and_not_shown() {
    let (sandbox, guard) = (Sandbox::new(), Guard::with_tokens());
    let path = write_config(&sandbox, "{\"auths\": {\n\"sentinel\"");
    let output = hidden(sandbox.cairn(["tags", &guard.repository("team/hello")])).fails(3);
    output.says(&path.display().to_string()).says("line 2");
    login(&sandbox, guard.host(), PASSWORD)
        .fails(3)
        .says("nothing in it was changed");
    assert_eq!(fs::read_to_string(&path).unwrap(), "{\"auths\": {\n\"sentinel\"");
}

#[test]
fn h8_the_file_is_for_its_owner_whatever_the_umask() {
    let (sandbox, guard) = (Sandbox::new(), Guard::with_tokens());
    let path = write_config(&sandbox, "{}");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    let cairn = sandbox.command(["--version"]).get_program().to_owned();
    let mut shell = Command::new("/bin/sh");
    shell.args([
        "-c",
        "umask 000; exec \"$0\" login \"$1\" --user ann --password-stdin",
    ]);
    shell.arg(cairn).arg(guard.host());
    sandbox.confine(&mut shell);
    hidden(run_with(&mut shell, PASSWORD)).ok();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let names: Vec<_> = fs::read_dir(path.parent().unwrap()).unwrap().collect();
    assert_eq!(names.len(), 1, "{names:?}");
}

#[test]
fn what_cannot_be_a_login_is_refused_before_anybody_is_asked() {
    let sandbox = Sandbox::new();
    let host = "registry.example.org";
    sandbox
        .cairn(["login", host, "--user", "ann"])
        .fails(2)
        .says("--password-stdin");
    sandbox
        .cairn(["login", host, "--password-stdin"])
        .fails(2)
        .says("--user");
    sandbox
        .cairn(["login", host, "-u", "a:b", "--password-stdin"])
        .fails(1)
        .says("colon");
    sandbox
        .cairn(["login", host, "-u", "ann", "--password-stdin"])
        .fails(1)
        .says("stdin is empty");
    login(&sandbox, host, "two\nlines\n")
        .fails(1)
        .says("several lines");
    for bad in [
        "https://registry.example.org",
        "registry",
        "registry.example.org/team",
    ] {
        let refused = login(&sandbox, bad, PASSWORD).fails(1);
        refused
            .says("is not the host of a registry")
            .says("hint: name the host alone");
        sandbox.cairn(["logout", bad]).fails(1).says("is not the host");
    }
    for bad in [
        "ann:sentinel@registry.example.org",
        "https://ann:sentinel@registry.example.org",
    ] {
        let refused = sandbox.cairn(["login", bad, "-u", USER, "--password-stdin"]);
        let refused = refused.fails(1).says("no user name in it");
        assert!(!refused.stderr.contains("sentinel"), "{refused}");
    }
}

#[test]
fn a_login_as_a_document() {
    let (sandbox, guard) = (Sandbox::new(), Guard::with_tokens());
    let arguments = ["--json", "login", guard.host(), "-u", USER, "--password-stdin"];
    let document = run_with(&mut sandbox.command(arguments), PASSWORD).ok().json();
    let kept = docker_config(&sandbox).display().to_string();
    assert_eq!(document["registry"], guard.host());
    assert_eq!(
        (&document["user"], &document["checked"]),
        (&USER.into(), &true.into())
    );
    assert_eq!(document["kept"], kept.as_str());
    let document = sandbox.cairn(["--json", "logout", guard.host()]).ok().json();
    assert_eq!(document["removed"], serde_json::json!([kept]));
}

#[test]
fn h6_a_terminal_is_asked_and_does_not_show_what_is_typed() {
    let (sandbox, guard) = (Sandbox::new(), Guard::with_tokens());
    let Some(script) = tool("script") else { return };
    let cairn = sandbox.command(["--version"]).get_program().to_owned();
    let line = format!("{} login {}", cairn.display(), guard.host());
    let mut command = Command::new(script);
    sandbox.confine(&mut command);
    // script(1) gives the program a terminal of its own, and stands between it and these pipes.
    command
        .args(["-qec", &line, "/dev/null"])
        .env("TERM", "dumb")
        .env("SHELL", "/bin/sh");
    let child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.unwrap();
    let (mut typed, mut shown) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut seen = String::new();
    let mut until = |text: &str| {
        let mut byte = [0];
        while !seen.contains(text) {
            if shown.read(&mut byte).unwrap() == 0 {
                return (false, seen.clone());
            }
            seen.push(char::from(byte[0]));
        }
        (true, seen.clone())
    };
    let (asked, said) = until("user name for ");
    if !asked && said.contains("terminal") {
        child.wait().unwrap();
        return skip("this machine gives no terminal");
    }
    assert!(until(": ").0);
    writeln!(typed, "{USER}").unwrap();
    let (asked, said) = until("password or token of ann: ");
    assert!(asked, "{said}");
    writeln!(typed, "{PASSWORD}").unwrap();
    let (_, said) = until("nothing else");
    assert!(said.contains("signed in to"), "{said}");
    assert!(said.contains(USER) && !said.contains("sentinel"), "{said}");
    assert!(child.wait().unwrap().success());
    sandbox.cairn(["tags", &guard.repository("team/hello")]).ok();
}
