//! Alternatives: `/usr/bin/awk` leads to `/etc/alternatives/awk`, and that to one of the programs that are installed
//! (update-alternatives(1)).
//!
//! Only those of this table are known. Of the packages that are there, the one with the highest priority is taken; of two with
//! the same, the first by name. Manual pages follow no alternative.

use std::collections::BTreeMap;

use cairn_layer::TreePath;

use super::table::multiarch;
use super::world::{World, link, path};
use crate::deb::Archive;

/// One link and what it can lead to.
struct Alternative {
    package: &'static str,
    /// Where the link stands; its name below `/etc/alternatives` is its last component, unless there is another.
    link: &'static str,
    name: &'static str,
    target: &'static str,
    priority: u32,
}

const fn row(
    package: &'static str,
    link: &'static str,
    name: &'static str,
    target: &'static str,
    priority: u32,
) -> Alternative {
    Alternative {
        package,
        link,
        name,
        target,
        priority,
    }
}

/// `{multiarch}` is the package's directory for libraries, such as `x86_64-linux-gnu`.
const TABLE: [Alternative; 47] = [
    row(
        "debianutils",
        "usr/bin/which",
        "which",
        "usr/bin/which.debianutils",
        0,
    ),
    row("g++", "usr/bin/c++", "c++", "usr/bin/g++", 20),
    row("gawk", "usr/bin/awk", "awk", "usr/bin/gawk", 10),
    row("gawk", "usr/bin/nawk", "nawk", "usr/bin/gawk", 10),
    row("gcc", "usr/bin/c89", "c89", "usr/bin/c89-gcc", 20),
    row("gcc", "usr/bin/c99", "c99", "usr/bin/c99-gcc", 20),
    row("gcc", "usr/bin/cc", "cc", "usr/bin/gcc", 20),
    row(
        "iptables",
        "usr/sbin/arptables",
        "arptables",
        "usr/sbin/arptables-nft",
        20,
    ),
    row(
        "iptables",
        "usr/sbin/arptables-restore",
        "arptables-restore",
        "usr/sbin/arptables-nft-restore",
        20,
    ),
    row(
        "iptables",
        "usr/sbin/arptables-save",
        "arptables-save",
        "usr/sbin/arptables-nft-save",
        20,
    ),
    row(
        "iptables",
        "usr/sbin/ebtables",
        "ebtables",
        "usr/sbin/ebtables-nft",
        20,
    ),
    row(
        "iptables",
        "usr/sbin/ebtables-restore",
        "ebtables-restore",
        "usr/sbin/ebtables-nft-restore",
        20,
    ),
    row(
        "iptables",
        "usr/sbin/ebtables-save",
        "ebtables-save",
        "usr/sbin/ebtables-nft-save",
        20,
    ),
    row(
        "iptables",
        "usr/sbin/ip6tables",
        "ip6tables",
        "usr/sbin/ip6tables-nft",
        20,
    ),
    row(
        "iptables",
        "usr/sbin/ip6tables-restore",
        "ip6tables-restore",
        "usr/sbin/ip6tables-nft-restore",
        20,
    ),
    row(
        "iptables",
        "usr/sbin/ip6tables-save",
        "ip6tables-save",
        "usr/sbin/ip6tables-nft-save",
        20,
    ),
    row(
        "iptables",
        "usr/sbin/iptables",
        "iptables",
        "usr/sbin/iptables-nft",
        20,
    ),
    row(
        "iptables",
        "usr/sbin/iptables-restore",
        "iptables-restore",
        "usr/sbin/iptables-nft-restore",
        20,
    ),
    row(
        "iptables",
        "usr/sbin/iptables-save",
        "iptables-save",
        "usr/sbin/iptables-nft-save",
        20,
    ),
    row("less", "usr/bin/pager", "pager", "usr/bin/less", 77),
    row(
        "libblas3",
        "usr/lib/{multiarch}/libblas.so.3",
        "libblas.so.3-{multiarch}",
        "usr/lib/{multiarch}/blas/libblas.so.3",
        10,
    ),
    row(
        "liblapack3",
        "usr/lib/{multiarch}/liblapack.so.3",
        "liblapack.so.3-{multiarch}",
        "usr/lib/{multiarch}/lapack/liblapack.so.3",
        10,
    ),
    row(
        "libopenblas0-pthread",
        "usr/lib/{multiarch}/libblas.so.3",
        "libblas.so.3-{multiarch}",
        "usr/lib/{multiarch}/openblas-pthread/libblas.so.3",
        100,
    ),
    row(
        "libopenblas0-pthread",
        "usr/lib/{multiarch}/liblapack.so.3",
        "liblapack.so.3-{multiarch}",
        "usr/lib/{multiarch}/openblas-pthread/liblapack.so.3",
        100,
    ),
    row(
        "libopenblas0-pthread",
        "usr/lib/{multiarch}/libopenblas.so.0",
        "libopenblas.so.0-{multiarch}",
        "usr/lib/{multiarch}/openblas-pthread/libopenblas.so.0",
        100,
    ),
    row("mawk", "usr/bin/awk", "awk", "usr/bin/mawk", 5),
    row("mawk", "usr/bin/nawk", "nawk", "usr/bin/mawk", 5),
    row("nano", "usr/bin/editor", "editor", "usr/bin/nano", 40),
    row("nano", "usr/bin/pico", "pico", "usr/bin/nano", 10),
    row("netcat-openbsd", "usr/bin/nc", "nc", "usr/bin/nc.openbsd", 50),
    row(
        "netcat-openbsd",
        "usr/bin/netcat",
        "netcat",
        "usr/bin/nc.openbsd",
        50,
    ),
    row("original-awk", "usr/bin/awk", "awk", "usr/bin/original-awk", 0),
    row("tar", "usr/sbin/rmt", "rmt", "usr/sbin/rmt-tar", 50),
    row("util-linux", "usr/bin/pager", "pager", "usr/bin/more", 50),
    row("vim", "usr/bin/editor", "editor", "usr/bin/vim.basic", 30),
    row("vim", "usr/bin/ex", "ex", "usr/bin/vim.basic", 30),
    row("vim", "usr/bin/rview", "rview", "usr/bin/vim.basic", 30),
    row("vim", "usr/bin/rvim", "rvim", "usr/bin/vim.basic", 30),
    row("vim", "usr/bin/vi", "vi", "usr/bin/vim.basic", 30),
    row("vim", "usr/bin/view", "view", "usr/bin/vim.basic", 30),
    row("vim", "usr/bin/vim", "vim", "usr/bin/vim.basic", 30),
    row("vim", "usr/bin/vimdiff", "vimdiff", "usr/bin/vim.basic", 30),
    row("vim-tiny", "usr/bin/editor", "editor", "usr/bin/vim.tiny", 15),
    row("vim-tiny", "usr/bin/ex", "ex", "usr/bin/vim.tiny", 15),
    row("vim-tiny", "usr/bin/rview", "rview", "usr/bin/vim.tiny", 15),
    row("vim-tiny", "usr/bin/vi", "vi", "usr/bin/vim.tiny", 15),
    row("vim-tiny", "usr/bin/view", "view", "usr/bin/vim.tiny", 15),
];

/// Programs of Java, which each version of it has in a directory of its own.
const JAVA: [&str; 4] = ["java", "jpackage", "keytool", "rmiregistry"];

/// Something that can be taken.
struct Choice {
    owner: usize,
    link: TreePath,
    name: TreePath,
    target: TreePath,
    priority: u32,
}

/// Whether all alternatives of the package are in the table.
pub(super) fn are_known(package: &str) -> bool {
    TABLE.iter().any(|row| row.package == package) || java(package).is_some()
}

/// Makes the links.
pub(super) fn apply(world: &mut World<'_>) {
    let mut best: BTreeMap<TreePath, Choice> = BTreeMap::new();
    for (owner, package) in world.packages.iter().enumerate() {
        for choice in choices(owner, package) {
            if !world.leads_to_file(&choice.target) {
                continue;
            }
            let is_better = best
                .get(&choice.name)
                .is_none_or(|other| other.priority < choice.priority);
            if is_better {
                best.insert(choice.name.clone(), choice);
            }
        }
    }
    for choice in best.into_values() {
        let absolute = |path: &TreePath| [b"/", path.as_bytes()].concat();
        world.add(Some(choice.owner), &choice.name, link(&absolute(&choice.target)));
        world.add(Some(choice.owner), &choice.link, link(&absolute(&choice.name)));
    }
}

fn choices(owner: usize, package: &Archive) -> Vec<Choice> {
    let architecture = package.identity().architecture();
    let triplet = multiarch(architecture).unwrap_or_default();
    let whole = |text: &str| path(&text.replace("{multiarch}", triplet));
    let by_name = |name: &str| whole(&format!("etc/alternatives/{name}"));
    let rows = TABLE.iter().filter(|row| row.package == package.name());
    let mut choices: Vec<Choice> = rows
        .map(|row| Choice {
            owner,
            link: whole(row.link),
            name: by_name(row.name),
            target: whole(row.target),
            priority: row.priority,
        })
        .collect();
    if let Some(version) = java(package.name()) {
        let of_java = |tool| {
            let target = format!("usr/lib/jvm/java-{version}-openjdk-{architecture}/bin/{tool}");
            Some(Choice {
                owner,
                link: path(&format!("usr/bin/{tool}")),
                name: by_name(tool),
                target: TreePath::new(target).ok()?,
                priority: version * 100 + 11,
            })
        };
        choices.extend(JAVA.iter().filter_map(|tool| of_java(tool)));
    }
    choices
}

/// The version in `openjdk-17-jre-headless`.
fn java(package: &str) -> Option<u32> {
    let version = package.strip_prefix("openjdk-")?.strip_suffix("-jre-headless")?;
    version.parse().ok().filter(|version| *version < 1_000)
}

/// The packages of the table.
#[cfg(test)]
pub(super) fn packages() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|row| row.package)
}
