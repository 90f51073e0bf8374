//! What is done instead of the scripts of packages that are known by name.
//!
//! Each row says what the scripts of a package do in a fresh image, as far as an image needs it, and has the fingerprints of the
//! scripts that were looked at. A row without steps is for scripts that do nothing there, or whose work is done elsewhere
//! in this crate. `docs/packages.md` lists the rows.

use cairn_layer::{Attributes, Node, Source, TreePath};

use super::AssembleError;
use super::accounts::Accounts;
use super::world::{World, link, path};
use crate::deb::Archive;

/// What is known of one package, or of several whose names differ in one number.
pub(super) struct Row {
    /// The package's name; a `*` in it stands for a number such as `3.11`.
    pub(super) package: &'static str,
    users: &'static [User],
    steps: &'static [Step],
    /// Fingerprints of the scripts that were looked at.
    reviewed: &'static [&'static str],
}

/// A user that a script makes, with a group of the same name unless another is named.
pub(super) struct User {
    pub(super) name: &'static str,
    pub(super) group: Option<&'static str>,
    pub(super) comment: &'static str,
    pub(super) home: &'static str,
}

/// One thing to do. `{*}` in a path is what the `*` in the package's name stands for.
enum Step {
    /// A directory, unless there is one.
    Directory(&'static str, u32, &'static str, &'static str),
    /// A link to a directory, also if a package has a directory there.
    DirectoryLink(&'static str, &'static str),
    /// A link, unless something is there.
    Link(&'static str, &'static str),
    /// A copy of a package's file, unless something is there.
    Copy(&'static str, &'static str),
    /// A file, unless something is there.
    Text(&'static str, u32, &'static str, &'static str, &'static str),
    /// Mode, owner and group of what a package has.
    Attributes(&'static str, u32, &'static str, &'static str),
}

const fn row(package: &'static str, steps: &'static [Step], reviewed: &'static [&'static str]) -> Row {
    Row {
        package,
        users: &[],
        steps,
        reviewed,
    }
}

/// Where Java programs keep what holds for the whole system: every package of a runtime makes it.
const JAVA_PREFERENCES: &[Step] = &[
    Directory("etc/.java/.systemPrefs", 0o755, "root", "root"),
    Text("etc/.java/.systemPrefs/.system.lock", 0o644, "root", "root", ""),
    Text(
        "etc/.java/.systemPrefs/.systemRootModFile",
        0o644,
        "root",
        "root",
        "",
    ),
];

/// What glibc's package for its programs would have copied to `/etc/nsswitch.conf`.
const NSSWITCH: &str = "passwd:         files\ngroup:          files\nshadow:         files\ngshadow:        files\n\nhosts:          files dns\nnetworks:       files\n\nprotocols:      db files\nservices:       db files\nethers:         db files\nrpc:            db files\n\nnetgroup:       nis\n";
const HOSTS: &str = "127.0.0.1\tlocalhost\n::1\t\tlocalhost ip6-localhost ip6-loopback\nff02::1\t\tip6-allnodes\nff02::2\t\tip6-allrouters\n\n";
const NETWORKS: &str = "default\t\t0.0.0.0\nloopback\t127.0.0.0\nlink-local\t169.254.0.0\n\n";
const PYTHON: &str =
    "[DEFAULT]\n# how to byte-compile (comma separated: standard, optimize)\nbyte-compile = standard\n";

use Step::{Attributes as Change, Copy, Directory, DirectoryLink, Link, Text};

static TABLE: &[Row] = &[
    row("adduser", &[], &["2d4805b9d77ee80c"]),
    Row {
        package: "apt",
        users: &[User {
            name: "_apt",
            group: Some("nogroup"),
            comment: "",
            home: "/nonexistent",
        }],
        steps: &[],
        reviewed: &["fbbebd8f82988498"],
    },
    row(
        "base-files",
        &[
            DirectoryLink("var/run", "/run"),
            DirectoryLink("var/lock", "/run/lock"),
            Directory("run/lock", 0o1777, "root", "root"),
            Directory("mnt", 0o755, "root", "root"),
            Directory("srv", 0o755, "root", "root"),
            Directory("opt", 0o755, "root", "root"),
            Directory("etc/opt", 0o755, "root", "root"),
            Directory("var/opt", 0o755, "root", "root"),
            Directory("media", 0o755, "root", "root"),
            Directory("var/mail", 0o2775, "root", "mail"),
            Link("var/spool/mail", "../mail"),
            Directory("usr/local/share/man", 0o755, "root", "root"),
            Directory("usr/local/bin", 0o755, "root", "root"),
            Directory("usr/local/games", 0o755, "root", "root"),
            Directory("usr/local/lib", 0o755, "root", "root"),
            Directory("usr/local/include", 0o755, "root", "root"),
            Directory("usr/local/sbin", 0o755, "root", "root"),
            Directory("usr/local/src", 0o755, "root", "root"),
            Directory("usr/local/etc", 0o755, "root", "root"),
            Link("usr/local/man", "share/man"),
            Link("etc/dpkg/origins/default", "debian"),
            Copy("usr/share/base-files/dot.profile", "root/.profile"),
            Copy("usr/share/base-files/dot.bashrc", "root/.bashrc"),
            Copy("usr/share/base-files/profile", "etc/profile"),
            Copy("usr/share/base-files/motd", "etc/motd"),
        ],
        &["75dc1a8efd1cbeaa"],
    ),
    row("base-passwd", &[], &["537a1ef4ef1cad38", "8da384eff3ef0e06"]),
    row("bash", &[Link("usr/bin/sh", "bash")], &["802597213825656a"]),
    row("ca-certificates", &[], &["7ef7ba339130ef19"]),
    row("coreutils", &[], &["e89f7fd4c33e90f1"]),
    row("dash", &[Link("usr/bin/sh", "dash")], &["fc8021a669eada88"]),
    row(
        "debianutils",
        &[Copy("usr/share/debianutils/shells", "etc/shells")],
        &["577c28ada67eda82"],
    ),
    row("dpkg", &[], &["9afa516e93c4170c"]),
    row("e2fsprogs", &[], &["a27f457f8f8e527b"]),
    row("git", &[], &["34d2411192be252b"]),
    Row {
        package: "haproxy",
        users: &[User {
            name: "haproxy",
            group: None,
            comment: "",
            home: "/var/lib/haproxy",
        }],
        steps: &[],
        reviewed: &["2f264b08b78bc04b"],
    },
    row("init-system-helpers", &[], &["c28af2e67a43cc1f"]),
    row("iproute2", &[], &["80e1a52c7fa46d0d"]),
    row("java-common", JAVA_PREFERENCES, &["e772dc734c636160"]),
    row(
        "libc-bin",
        &[Copy("usr/share/libc-bin/nsswitch.conf", "etc/nsswitch.conf")],
        &["ba80bbefcd78b6c5"],
    ),
    row(
        "libc6",
        &[Text("etc/nsswitch.conf", 0o644, "root", "root", NSSWITCH)],
        &["30d4d699bbdff4cd", "3976e1acbfab272d"],
    ),
    row("libgcrypt20", &[], &["2d8141af836059d9"]),
    row("libgssapi-krb5-2", &[], &["03524d3c1bbb9794"]),
    row(
        "libpam-modules",
        &[
            Text("etc/security/opasswd", 0o600, "root", "root", ""),
            Text("etc/environment", 0o644, "root", "root", ""),
        ],
        &["6480833a90053eac", "eb9f147823f42ba7"],
    ),
    row("libpam0g", &[], &["2e06b34944ed9e03"]),
    row(
        "login",
        &[
            Text("etc/subgid", 0o644, "root", "root", ""),
            Text("etc/subuid", 0o644, "root", "root", ""),
        ],
        &["cc39d38f2bb3611b"],
    ),
    Row {
        package: "memcached",
        users: &[User {
            name: "memcache",
            group: None,
            comment: "Memcached",
            home: "/nonexistent",
        }],
        steps: &[Copy(
            "usr/share/memcached/memcached.conf.default",
            "etc/memcached.conf",
        )],
        reviewed: &["20f945d73d933bdb"],
    },
    row(
        "netbase",
        &[
            Text("etc/hosts", 0o644, "root", "root", HOSTS),
            Text("etc/networks", 0o644, "root", "root", NETWORKS),
        ],
        &["e873ab86360bd386"],
    ),
    row("nginx", &[], &["79dc16d264acba0f"]),
    row(
        "nginx-common",
        &[
            Directory("var/log/nginx", 0o755, "root", "adm"),
            Change("var/log/nginx", 0o755, "root", "adm"),
            Text("var/log/nginx/access.log", 0o640, "www-data", "adm", ""),
            Text("var/log/nginx/error.log", 0o640, "www-data", "adm", ""),
            Link(
                "etc/nginx/sites-enabled/default",
                "/etc/nginx/sites-available/default",
            ),
            Copy(
                "usr/share/nginx/html/index.html",
                "var/www/html/index.nginx-debian.html",
            ),
        ],
        &["3465b4094ac0d3be"],
    ),
    row("openjdk-*-jre-headless", JAVA_PREFERENCES, &["a86ed37a62f461d6"]),
    row("openssl", &[], &["2cf35c30f1dbaf92"]),
    row("passwd", &[], &["82d511ae64911105"]),
    row("perl", &[], &["136e9ebc1f15ef1a"]),
    row("procps", &[], &["65f60741bab1e670"]),
    row(
        "python3",
        &[Text("etc/python3/debian_config", 0o644, "root", "root", PYTHON)],
        &["92166c203bfd2107", "d0d1f48e7d012b4c"],
    ),
    row("python3.*", &[], &["fe18ce87052d32dc"]),
    row(
        "python3.*-minimal",
        &[Directory(
            "usr/local/lib/python3.{*}/dist-packages",
            0o755,
            "root",
            "root",
        )],
        &["7501449ab894eb50", "ba2407e3b12583d1"],
    ),
    row(
        "readline-common",
        &[Copy("usr/share/readline/inputrc", "etc/inputrc")],
        &["6bd5c720d8176c2b"],
    ),
    Row {
        package: "redis-server",
        users: &[],
        steps: &[Change("etc/redis/redis.conf", 0o640, "redis", "redis")],
        reviewed: &["dbe8230e9e368098"],
    },
    Row {
        package: "redis-tools",
        users: &[User {
            name: "redis",
            group: None,
            comment: "",
            home: "/var/lib/redis",
        }],
        steps: &[
            Directory("var/log/redis", 0o2750, "redis", "adm"),
            Change("var/log/redis", 0o2750, "redis", "adm"),
            Directory("var/lib/redis", 0o750, "redis", "redis"),
            Change("var/lib/redis", 0o750, "redis", "redis"),
            Directory("etc/redis", 0o2770, "redis", "redis"),
            Change("etc/redis", 0o2770, "redis", "redis"),
        ],
        reviewed: &["5a8664af3c720263"],
    },
    row(
        "tzdata",
        &[
            Link("etc/localtime", "/usr/share/zoneinfo/Etc/UTC"),
            Text("etc/timezone", 0o644, "root", "root", "Etc/UTC\n"),
        ],
        &["c4433555b808ca0d"],
    ),
    row("ucf", &[], &["afca763266eced01", "f3592962c0ef4797"]),
];

/// Paths that a package moves away, and where to (dpkg-divert(1)): of whoever else has them.
const DIVERSIONS: [(&str, &str, &str); 1] = [(
    "postgresql-common",
    "usr/bin/pg_config",
    "usr/bin/pg_config.libpq-dev",
)];

/// Debian's architectures and their directories for libraries.
const MULTIARCH: [(&str, &str); 10] = [
    ("amd64", "x86_64-linux-gnu"),
    ("arm64", "aarch64-linux-gnu"),
    ("armel", "arm-linux-gnueabi"),
    ("armhf", "arm-linux-gnueabihf"),
    ("i386", "i386-linux-gnu"),
    ("loong64", "loongarch64-linux-gnu"),
    ("mips64el", "mips64el-linux-gnuabi64"),
    ("ppc64el", "powerpc64le-linux-gnu"),
    ("riscv64", "riscv64-linux-gnu"),
    ("s390x", "s390x-linux-gnu"),
];

/// The directory for libraries of an architecture, such as `x86_64-linux-gnu`; none of `all`.
pub(super) fn multiarch(architecture: &str) -> Option<&'static str> {
    let found = MULTIARCH.iter().find(|(name, _)| *name == architecture);
    found.map(|(_, directory)| *directory)
}

/// Where a file of `package` at `at` goes because another package moves it away.
pub(super) fn diverted(packages: &[Archive], package: &str, at: &TreePath) -> Option<TreePath> {
    let found = DIVERSIONS.iter().find(|(by, from, _)| {
        *by != package && at.as_bytes() == from.as_bytes() && packages.iter().any(|other| other.name() == *by)
    });
    found.map(|(_, _, to)| path(to))
}

/// The row of a package, and what the `*` stands for.
fn find(package: &str) -> Option<(&'static Row, &str)> {
    TABLE
        .iter()
        .find_map(|row| Some((row, stands_for(row.package, package)?)))
}

fn stands_for<'p>(pattern: &str, package: &'p str) -> Option<&'p str> {
    let Some((before, after)) = pattern.split_once('*') else {
        return (pattern == package).then_some("");
    };
    let number = package.strip_prefix(before)?.strip_suffix(after)?;
    let is_number =
        !number.is_empty() && number.len() < 9 && number.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then_some(number)
}

/// The users that a package's scripts make.
pub(super) fn users(package: &str) -> &'static [User] {
    find(package).map_or(&[], |(row, _)| row.users)
}

/// The fingerprints of a package's scripts that were looked at; none if the package is not in the table.
pub(super) fn reviewed(package: &str) -> Option<&'static [&'static str]> {
    find(package).map(|(row, _)| row.reviewed)
}

/// The links to directories that stand in the place of a package's directories.
pub(super) fn links(package: &str) -> Vec<(TreePath, &'static [u8])> {
    let steps = find(package).map_or(&[][..], |(row, _)| row.steps);
    let links = steps.iter().filter_map(|step| match step {
        DirectoryLink(at, to) => Some((path(at), to.as_bytes())),
        _ => None,
    });
    links.collect()
}

/// Does what the rows of all packages say.
pub(super) fn apply(world: &mut World<'_>, accounts: &Accounts) -> Result<(), AssembleError> {
    for (number, package) in world.packages.iter().enumerate() {
        let Some((row, stands_for)) = find(package.name()) else {
            continue;
        };
        for step in row.steps {
            take(world, accounts, number, stands_for, step)?;
        }
    }
    Ok(())
}

fn take(
    world: &mut World<'_>,
    accounts: &Accounts,
    number: usize,
    stands_for: &str,
    step: &Step,
) -> Result<(), AssembleError> {
    let owner = Some(number);
    let at = |text: &str| path(&text.replace("{*}", stands_for));
    let attributes = |mode, user, group| Attributes {
        mode,
        // Somebody who is not in the image owns nothing.
        uid: accounts.uid(user).unwrap_or(0),
        gid: accounts.gid(group).unwrap_or(0),
        ..Attributes::default()
    };
    match *step {
        Directory(to, mode, user, group) => {
            world.add_directory(owner, &at(to), attributes(mode, user, group));
        }
        DirectoryLink(from, to) | Link(from, to) => {
            world.add(owner, &at(from), link(to.as_bytes()));
        }
        Copy(from, to) => {
            if let Some(content) = world.read(&at(from))? {
                let node = super::world::text(content);
                world.add(owner, &at(to), node);
            }
        }
        Text(to, mode, user, group, text) => {
            let node = Node::File {
                attributes: attributes(mode, user, group),
                source: Source::Bytes(text.as_bytes().into()),
            };
            world.add(owner, &at(to), node);
        }
        Change(to, mode, user, group) => {
            let Attributes { mode, uid, gid, .. } = attributes(mode, user, group);
            world.change(&at(to), mode, uid, gid);
        }
    }
    Ok(())
}

/// The packages of the table, as its rows name them.
#[cfg(test)]
pub(super) fn packages() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|row| row.package)
}

/// The packages that move files of others away.
#[cfg(test)]
pub(super) fn diverting() -> impl Iterator<Item = &'static str> {
    DIVERSIONS.iter().map(|(by, ..)| *by)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_of_the_table_is_one_and_every_package_is_there_once() {
        let mut names: Vec<&str> = packages().collect();
        assert!(names.is_sorted());
        names.dedup();
        assert_eq!(names.len(), TABLE.len());
        for row in TABLE {
            for step in row.steps {
                let (Directory(at, ..)
                | DirectoryLink(at, _)
                | Link(at, _)
                | Text(at, ..)
                | Change(at, ..)
                | Copy(_, at)) = step;
                TreePath::new(at).unwrap();
                if let Copy(from, _) = step {
                    TreePath::new(from).unwrap();
                }
            }
        }
        for (_, from, to) in DIVERSIONS {
            assert!(TreePath::new(from).is_ok() && TreePath::new(to).is_ok());
        }
    }

    #[test]
    fn a_star_stands_for_a_number() {
        assert_eq!(stands_for("python3.*-minimal", "python3.11-minimal"), Some("11"));
        assert_eq!(stands_for("python3.*", "python3.11"), Some("11"));
        for (pattern, package) in [
            ("python3.*", "python3.11-minimal"),
            ("python3.*", "python3."),
            ("python3.*", "python3.x"),
            ("python3", "python3.11"),
        ] {
            assert_eq!(stands_for(pattern, package), None, "{pattern} {package}");
        }
    }
}
