//! Tools that others wrote, where they are installed.

use std::io::Write;
use std::path::PathBuf;

/// The path of a tool. If it is not installed, this says so as CONTRIBUTING.md asks ("Tests with other tools"); then the
/// test returns, and is counted as skipped.
pub(crate) fn tool(name: &str) -> Option<PathBuf> {
    let found = find(name);
    if found.is_none() {
        skip(&format!("{name} is not installed"));
    }
    found
}

fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    // Debian keeps some in sbin, which is in no user's PATH; scripts/go-tools.sh builds some into the target directory.
    let elsewhere = ["/usr/sbin".into(), "/sbin".into(), built_tools()];
    let directories = std::env::split_paths(&path).chain(elsewhere);
    directories
        .map(|directory| directory.join(name))
        .find(|file| file.is_file())
}

/// `target/bench-tools`, beside the profile's directory in which the tests run: `target/<profile>/deps`.
fn built_tools() -> PathBuf {
    let tests = std::env::current_exe().expect("the test knows its own path");
    let target = tests
        .ancestors()
        .nth(3)
        .expect("a test runs in target/<profile>/deps");
    target.join("bench-tools")
}

/// Counts the test as skipped, for a reason that names the tool; then the test returns.
pub(crate) fn skip(reason: &str) {
    println!("skipped: {reason}");
    let Some(list) = std::env::var_os("CAIRN_TEST_SKIPPED").filter(|list| !list.is_empty()) else {
        return;
    };
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("program").to_owned();
    let file = std::fs::OpenOptions::new().append(true).create(true).open(&list);
    file.and_then(|mut file| file.write_all(format!("{test}: {reason}\n").as_bytes()))
        .unwrap_or_else(|error| panic!("cannot write {}: {error}", list.display()));
}
