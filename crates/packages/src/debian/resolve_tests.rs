//! Small worlds of packages, and what is found in them.

use super::*;
use crate::support::{Package, Repository};

fn package(name: &str, version: &str) -> Package {
    Package::new(name, version, "amd64")
}

fn index(packages: Vec<Package>) -> Index {
    Index {
        uri: "https://mirror.example.org/debian".to_owned(),
        suite: "stable".to_owned(),
        component: "main".to_owned(),
        bytes: Repository::new("stable", packages).index("amd64").into_bytes(),
    }
}

struct World {
    indexes: Vec<Index>,
    installed: Vec<Installed>,
    recommends: bool,
    essential: bool,
    pinned: Vec<Installed>,
}

impl World {
    fn new(packages: Vec<Package>) -> Self {
        Self {
            indexes: vec![index(packages)],
            installed: Vec::new(),
            recommends: false,
            essential: false,
            pinned: Vec::new(),
        }
    }

    fn with_base(mut self, installed: &[&str]) -> Self {
        self.installed = installed.iter().map(|own| own.parse().unwrap()).collect();
        self
    }

    fn selected(&self, install: &[&str]) -> Result<Vec<Selected>, ResolveError> {
        let install: Vec<Request> = install.iter().map(|text| text.parse().unwrap()).collect();
        resolve(&Question {
            architecture: "amd64",
            indexes: &self.indexes,
            installed: &self.installed,
            install: &install,
            recommends: self.recommends,
            essential: self.essential,
            pinned: &self.pinned,
        })
    }

    /// What comes for it, as `name version`, or the error.
    fn gives(&self, install: &[&str]) -> String {
        match self.selected(install) {
            Ok(selected) => {
                let shown = selected
                    .iter()
                    .map(|found| format!("{} {}", found.name, found.version));
                shown.collect::<Vec<_>>().join(", ")
            }
            Err(error) => format!("error: {error}"),
        }
    }
}

#[test]
fn what_is_needed_comes_and_nothing_else() {
    let world = World::new(vec![
        package("web", "1")
            .field("Depends", "tool (>= 2), data")
            .field("Recommends", "docs"),
        package("tool", "1"),
        package("tool", "2").field("Pre-Depends", "lib"),
        package("lib", "1"),
        Package::new("data", "1", "all"),
        package("docs", "1"),
        package("other", "1"),
    ]);
    assert_eq!(world.gives(&["web"]), "data 1, lib 1, tool 2, web 1");
    let selected = world.selected(&["web"]).unwrap();
    let reasons: Vec<_> = selected.iter().map(|found| found.needed_by.as_deref()).collect();
    assert_eq!(reasons, [Some("web"), Some("tool"), Some("web"), None]);
    let with = World {
        recommends: true,
        ..world
    };
    assert_eq!(with.gives(&["web"]), "data 1, docs 1, lib 1, tool 2, web 1");
}

#[test]
fn the_newest_version_counts_and_another_only_if_it_must() {
    let world = World::new(vec![
        package("a", "1.9"),
        package("a", "1.10"),
        package("a", "1.10~rc1"),
        package("b", "1").field("Depends", "a (<< 1.10~)"),
    ]);
    assert_eq!(world.gives(&["a"]), "a 1.10");
    assert_eq!(world.gives(&["a=1.10~rc1"]), "a 1.10~rc1");
    assert_eq!(world.gives(&["a", "b"]), "a 1.9, b 1");
    assert_eq!(
        world.gives(&["a=3"]),
        "error: there is no `a=3`; there is 1.10 for amd64, 1.10~rc1 for amd64, 1.9 for amd64"
    );
}

#[test]
fn alternatives_are_taken_in_order_but_one_that_is_there_anyway_is_better() {
    let packages = || {
        vec![
            package("web", "1").field("Depends", "first | second"),
            package("first", "1"),
            package("second", "1"),
            package("more", "1").field("Depends", "web, second"),
            package("broken", "1").field("Depends", "nobody | second"),
        ]
    };
    let world = World::new(packages());
    assert_eq!(world.gives(&["web"]), "first 1, web 1");
    assert_eq!(world.gives(&["more"]), "more 1, second 1, web 1");
    assert_eq!(world.gives(&["broken"]), "broken 1, second 1");
    assert_eq!(
        World::new(packages())
            .with_base(&["second 0.5 amd64"])
            .gives(&["web"]),
        "web 1"
    );
}

#[test]
fn what_is_provided_counts_with_its_version() {
    let world = World::new(vec![
        package("mail", "1").field("Provides", "mta, smtp (= 3)"),
        package("exam", "1")
            .field("Priority", "optional")
            .field("Provides", "mta"),
        package("needs-mta", "1").field("Depends", "mta"),
        package("needs-smtp", "1").field("Depends", "smtp (>= 2)"),
        package("needs-new", "1").field("Depends", "smtp (>= 4)"),
        package("needs-versioned", "1").field("Depends", "mta (>= 1)"),
    ]);
    assert_eq!(world.gives(&["needs-mta"]), "exam 1, needs-mta 1");
    assert_eq!(world.gives(&["needs-smtp"]), "mail 1, needs-smtp 1");
    assert_eq!(world.gives(&["smtp"]), "mail 1");
    assert_eq!(
        world.gives(&["mta"]),
        "error: `mta` is no package, but what exam, mail provide: name one of them"
    );
    assert!(
        world.gives(&["needs-new"]).contains("smtp"),
        "{}",
        world.gives(&["needs-new"])
    );
    assert!(
        world
            .gives(&["needs-versioned"])
            .starts_with("error: what is asked for")
    );
}

#[test]
fn packages_that_stand_in_each_others_way_are_named() {
    let world = World::new(vec![
        package("old", "1").field("Conflicts", "new"),
        package("new", "1"),
        package("breaker", "1").field("Breaks", "lib (<< 2)"),
        package("lib", "1"),
        package("user", "1").field("Depends", "lib (= 1)"),
        // Who conflicts with what it provides itself is alone in that.
        package("single", "1")
            .field("Provides", "server")
            .field("Conflicts", "server"),
        package("second", "1")
            .field("Provides", "server")
            .field("Conflicts", "server"),
    ]);
    for (install, parts) in [
        (&["old", "new"][..], &["old", "new"][..]),
        (&["breaker", "user"], &["breaker", "lib", "user"]),
        (&["single", "second"], &["single", "second"]),
    ] {
        let message = world.gives(install);
        assert!(
            message.starts_with("error: what is asked for cannot be had together"),
            "{message}"
        );
        for part in parts {
            assert!(message.contains(part), "{message}");
        }
    }
    assert_eq!(world.gives(&["single"]), "single 1");
    assert_eq!(world.gives(&["breaker"]), "breaker 1");
}

#[test]
fn what_the_base_has_stays_as_it_is_unless_it_is_named() {
    let packages = || {
        vec![
            package("lib", "2"),
            package("web", "1").field("Depends", "lib"),
            package("new", "1").field("Depends", "lib (>= 2)"),
            package("enemy", "1").field("Conflicts", "lib"),
        ]
    };
    let world = || World::new(packages()).with_base(&["lib 1 amd64"]);
    assert_eq!(world().gives(&["web"]), "web 1");
    assert_eq!(world().gives(&["web", "lib"]), "lib 2, web 1");
    let message = world().gives(&["new"]);
    assert!(
        message.ends_with("the base has other versions of lib: name them too, to replace them"),
        "{message}"
    );
    let message = world().gives(&["enemy"]);
    assert!(message.contains("enemy") && message.contains("lib"), "{message}");
    // Only in the base, in no index: such as what was made by hand.
    let own = World::new(packages()).with_base(&["lib 9+mine amd64"]);
    assert_eq!(own.gives(&["new"]), "new 1");
}

#[test]
fn architectures_stand_beside_each_other_as_packages_allow() {
    let foreign = |name: &str, version: &str| Package::new(name, version, "arm64");
    let same = |package: Package| package.field("Multi-Arch", "same");
    let both = |packages: Vec<Package>| {
        let repository = Repository::new("stable", packages);
        let mut bytes = repository.index("amd64").into_bytes();
        bytes.push(b'\n');
        bytes.extend(repository.index("arm64").into_bytes());
        let mut world = World::new(Vec::new());
        world.indexes[0].bytes = bytes;
        world
    };
    let world = both(vec![
        same(package("lib", "1")),
        same(foreign("lib", "1")),
        package("tool", "1").field("Multi-Arch", "foreign"),
        foreign("app", "1").field("Depends", "lib, tool"),
        package("one", "1"),
        foreign("one", "1"),
    ]);
    let arm = world.selected(&["app:arm64", "lib"]).unwrap();
    let shown: Vec<_> = arm
        .iter()
        .map(|found| format!("{}:{}", found.name, found.architecture))
        .collect();
    assert_eq!(shown, ["app:arm64", "lib:amd64", "lib:arm64", "tool:amd64"]);
    assert!(
        world
            .gives(&["one", "one:arm64"])
            .starts_with("error: what is asked for")
    );
    assert_eq!(
        world.gives(&["app"]),
        "error: there is no `app`; there is 1 for arm64"
    );
}

#[test]
fn names_that_nobody_has_are_refused_with_those_that_are_near() {
    let world = World::new(vec![
        package("python3-flask", "1"),
        package("nginx", "1"),
        package("nginx-core", "1"),
    ]);
    assert_eq!(
        world.gives(&["python3-flaks"]),
        "error: there is no package `python3-flaks`; near it are python3-flask"
    );
    assert_eq!(
        world.gives(&["core"]),
        "error: there is no package `core`; near it are nginx-core"
    );
    assert_eq!(world.gives(&["zzzzzz"]), "error: there is no package `zzzzzz`");
    for bad in ["", "A", "a=", "a:b:c", "a b", "a=1 2"] {
        assert!(bad.parse::<Request>().is_err(), "{bad}");
    }
}

#[test]
fn without_a_base_base_files_and_base_passwd_come_alone() {
    let packages = vec![
        package("hello", "1"),
        package("base-files", "11").field("Pre-Depends", "awk"),
        package("base-files", "12").field("Pre-Depends", "awk"),
        package("base-passwd", "3").field("Depends", "libdebconfclient0"),
        package("mawk", "1").field("Provides", "awk"),
        package("libdebconfclient0", "1"),
    ];
    let mut world = World::new(packages.clone());
    assert_eq!(world.gives(&["hello"]), "hello 1");
    world.essential = true;
    assert_eq!(world.gives(&["hello"]), "base-files 12, base-passwd 3, hello 1");
    let found = world.selected(&["hello"]).unwrap();
    let reasons: Vec<_> = found.iter().map(|found| found.needed_by.as_deref()).collect();
    assert_eq!(reasons, [Some("essential"), Some("essential"), None]);
    // Who asks for one gets what it needs, and in the version that was asked for.
    assert_eq!(
        world.gives(&["base-files=11"]),
        "base-files 11, base-passwd 3, mawk 1"
    );
    // Sources that do not have them are no less sources.
    let mut without = World::new(packages[..1].to_vec());
    without.essential = true;
    assert_eq!(without.gives(&["hello"]), "hello 1");
    let mut world = world.with_base(&["base-files 11 amd64", "base-passwd 3 amd64"]);
    world.essential = true;
    assert_eq!(world.gives(&["hello"]), "hello 1");
}

#[test]
fn the_same_question_has_the_same_answer() {
    let packages: Vec<Package> = (0..60)
        .map(|number| {
            let needs = format!(
                "p{} | p{}, v{}",
                (number * 7 + 1) % 60,
                (number * 11 + 3) % 60,
                number % 5
            );
            package(&format!("p{number}"), "1")
                .field("Depends", &needs)
                .field("Provides", &format!("v{}", number % 7))
        })
        .collect();
    let first = World::new(packages.clone()).gives(&["p1", "p2"]);
    assert!(!first.starts_with("error"), "{first}");
    for _ in 0..20 {
        assert_eq!(World::new(packages.clone()).gives(&["p1", "p2"]), first);
    }
}

#[test]
fn what_is_pinned_stays_unless_something_newer_is_needed() {
    let mut world = World::new(vec![
        package("app", "1").field("Depends", "library"),
        package("app", "2").field("Depends", "library (>= 2), other"),
        package("library", "1"),
        package("library", "2"),
        package("library", "3"),
        package("other", "1"),
        package("other", "2"),
    ]);
    let pin = |pins: &[&str]| pins.iter().map(|pin| pin.parse().unwrap()).collect();
    assert_eq!(world.gives(&["app"]), "app 2, library 3, other 2");
    world.pinned = pin(&["app 1 amd64", "library 1 amd64", "other 1 amd64"]);
    assert_eq!(world.gives(&["app"]), "app 1, library 1");
    // Without the pin of one, it drags along what it needs, and nothing else moves.
    world.pinned = pin(&["library 1 amd64", "other 1 amd64"]);
    assert_eq!(world.gives(&["app"]), "app 2, library 3, other 1");
    world.pinned = pin(&["library 2 amd64", "other 1 amd64"]);
    assert_eq!(world.gives(&["app"]), "app 2, library 2, other 1");
    // A pin that the archive no longer has is none.
    world.pinned = pin(&["app 0 amd64", "library 1 all"]);
    assert_eq!(world.gives(&["app=1"]), "app 1, library 3");
}
