//! Which maintainer scripts would have done something that matters.
//!
//! `preinst` and `postinst` are judged; the others are for removals and for questions. A script is harmless if every command in
//! it is one that does nothing in a fresh image, or something that is done here in another way: what debhelper writes for
//! services, byte code, `ldconfig`; tests, messages, removals. What writes to a file, or is a command that is not known, is an
//! effect. A package of the table is silent as long as its scripts are those that were looked at when its row was made: their
//! fingerprints stand in the row.

use std::collections::BTreeSet;
use std::fmt;

use cairn_oci::Hasher;
use serde::{Deserialize, Serialize};

use super::world::World;
use super::{Warning, alternatives, table};
use crate::deb::Archive;
use crate::image::words;

#[path = "shell.rs"]
mod shell;

use self::shell::Command;

/// How many commands a message names.
const COMMANDS_SHOWN: usize = 6;
/// Where ld.so looks without a cache on Debian, besides the directories by architecture.
const LIBRARY_DIRECTORIES: [&str; 2] = ["/lib", "/usr/lib"];

/// What is in doubt about a package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Doubt {
    /// It is not in the table, and its scripts have commands that may matter.
    Unknown {
        /// Its scripts with such commands.
        scripts: Vec<String>,
        /// The commands: at most six, each once, escaped.
        commands: Vec<String>,
        /// What a spec can do instead.
        advice: Vec<Advice>,
    },
    /// It is in the table, but a script is none of those that were looked at.
    Changed {
        /// The scripts, each with its fingerprint.
        scripts: Vec<(String, String)>,
    },
    /// It has libraries in directories that ld.so only knows by a cache, which is not made.
    Libraries {
        /// The directories, escaped.
        directories: Vec<String>,
    },
}

/// What a spec can do instead of a command of a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Advice {
    /// `[[user]]` or `[[group]]`.
    Account,
    /// `dir = […]`.
    Directory,
    /// `link = […]`.
    Link,
    /// `write = […]` or `copy = […]`.
    File,
    /// `capabilities` of a file.
    Capability,
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown {
                scripts, commands, ..
            } => write!(
                f,
                "has scripts that were not run ({}), with commands that may matter: {}",
                scripts.join(", "),
                commands.join(", ")
            ),
            Self::Changed { scripts } => {
                let scripts: Vec<_> = scripts
                    .iter()
                    .map(|(name, print)| format!("{name} {print}"))
                    .collect();
                write!(
                    f,
                    "has other scripts than those that are replaced ({}): the same is done as for them",
                    scripts.join(", ")
                )
            }
            Self::Libraries { directories } => write!(
                f,
                "has libraries that are only found with a cache, which images do not get: in {}",
                directories.join(", ")
            ),
        }
    }
}

impl Doubt {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unknown { advice, .. } => {
                let advice: Vec<&str> = advice.iter().map(|advice| advice.text()).collect();
                Some(match advice[..] {
                    [] => "look at the package's scripts; what the image needs of them, a layer of the spec can have".to_owned(),
                    _ => format!("if the image needs what they do: {}", advice.join("; ")),
                })
            }
            Self::Changed { .. } => None,
            Self::Libraries { directories } => Some(format!(
                "set LD_LIBRARY_PATH={} in [config] env",
                directories.join(":")
            )),
        }
    }
}

impl Advice {
    const fn text(self) -> &'static str {
        match self {
            Self::Account => "[[user]] or [[group]] for accounts",
            Self::Directory => "`dir` for directories, their modes and owners",
            Self::Link => "`link` for links and alternatives",
            Self::File => "`write` or `copy` for files",
            Self::Capability => "`capabilities` for programs",
        }
    }
}

/// What may matter and was not done.
pub(super) fn judge(world: &World<'_>) -> Vec<Warning> {
    let mut warnings = Vec::new();
    for (number, package) in world.packages.iter().enumerate() {
        let doubts = scripts(package).into_iter().chain(libraries(world, number));
        warnings.extend(doubts.map(|doubt| Warning {
            package: package.name().to_owned(),
            doubt,
        }));
    }
    warnings
}

fn scripts(package: &Archive) -> Option<Doubt> {
    let run_when_installed = ["preinst", "postinst"];
    let scripts = run_when_installed
        .iter()
        .filter_map(|name| Some((*name, package.scripts.get(*name)?)));
    let mut doubtful = Vec::new();
    let (mut commands, mut advice) = (Vec::new(), BTreeSet::new());
    for (name, script) in scripts {
        let effects = effects(package.name(), script);
        if effects.is_empty() {
            continue;
        }
        doubtful.push((name.to_owned(), fingerprint(package, script)));
        for effect in effects {
            advice.extend(advise(&effect));
            if commands.len() < COMMANDS_SHOWN && !commands.contains(&effect.shown) {
                commands.push(effect.shown);
            }
        }
    }
    if let Some(reviewed) = table::reviewed(package.name()) {
        doubtful.retain(|(_, print)| !reviewed.contains(&print.as_str()));
        return (!doubtful.is_empty()).then_some(Doubt::Changed { scripts: doubtful });
    }
    (!doubtful.is_empty()).then(|| Doubt::Unknown {
        scripts: doubtful.into_iter().map(|(name, _)| name).collect(),
        commands,
        advice: advice.into_iter().collect(),
    })
}

/// A command that may matter.
struct Effect {
    word: String,
    shown: String,
}

fn effects(package: &str, script: &[u8]) -> Vec<Effect> {
    let text = String::from_utf8_lossy(script);
    let first = text.lines().next().unwrap_or_default();
    let interpreter = first
        .strip_prefix("#!")
        .map(|line| line.split_whitespace().next().unwrap_or_default());
    let interpreter = interpreter
        .and_then(|path| path.rsplit('/').next())
        .unwrap_or("sh");
    if !["sh", "bash", "dash"].contains(&interpreter) {
        return vec![Effect {
            word: interpreter.to_owned(),
            shown: format!("a script for {}", interpreter.escape_debug()),
        }];
    }
    let own_alternatives = alternatives::are_known(package);
    let parsed = shell::commands(&without_debhelper(&text, own_alternatives));
    let matters = |command: &&Command| match command.word() {
        "update-alternatives" => !own_alternatives,
        word => !parsed.functions.contains(word) && !command.is_harmless(),
    };
    let effects = parsed.commands.iter().filter(matters).map(|command| Effect {
        word: command.word().to_owned(),
        shown: command.shown(),
    });
    effects.collect()
}

/// Without what debhelper writes for services and byte code (debhelper(7)).
fn without_debhelper(text: &str, own_alternatives: bool) -> String {
    const HARMLESS: [&str; 24] = [
        "dh_apparmor",
        "dh_icons",
        "dh_installcatalogs",
        "dh_installdeb",
        "dh_installdebconf",
        "dh_installemacsen",
        "dh_installinit",
        "dh_installinitramfs",
        "dh_installmenu",
        "dh_installmodules",
        "dh_installsystemd",
        "dh_installsystemduser",
        "dh_installsysusers",
        "dh_installtmpfiles",
        "dh_installudev",
        "dh_installwm",
        "dh_makeshlibs",
        "dh_pypy",
        "dh_python2",
        "dh_python3",
        "dh_sysuser",
        "dh_systemd_enable",
        "dh_systemd_start",
        "dh_usrlocal",
    ];
    let mut kept = String::with_capacity(text.len());
    let mut is_left_out = false;
    for line in text.lines() {
        let trimmed = line.trim();
        if let Some(rest) = trimmed.strip_prefix("# Automatically added by ") {
            let tool = rest.split('/').next().unwrap_or_default();
            is_left_out = HARMLESS.contains(&tool) || (tool == "dh_installalternatives" && own_alternatives);
        } else if trimmed == "# End automatically added section" {
            is_left_out = false;
        } else if !is_left_out {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

fn advise(effect: &Effect) -> Option<Advice> {
    match effect.word.as_str() {
        "adduser" | "addgroup" | "useradd" | "groupadd" | "usermod" | "sysuser-helper" => {
            Some(Advice::Account)
        }
        "mkdir" | "install" | "chown" | "chmod" | "chgrp" | "dpkg-statoverride" => Some(Advice::Directory),
        "ln" | "update-alternatives" => Some(Advice::Link),
        "cp" | "mv" | "ucf" | "touch" | "cat" | "echo" | "printf" | "sed" | "tee" => Some(Advice::File),
        "setcap" => Some(Advice::Capability),
        _ => None,
    }
}

/// What tells one script from another: the first 16 digits of a SHA-256 of its lines without comments, blanks, debhelper's
/// parts, and the architecture.
fn fingerprint(package: &Archive, script: &[u8]) -> String {
    let text = without_debhelper(&String::from_utf8_lossy(script), true);
    let architecture = package.identity().architecture();
    let (own, triplet) = (format!(":{architecture}"), table::multiarch(architecture));
    let mut hasher = Hasher::new();
    for (_, line) in words::lines(&text) {
        let line = line.replace(&own, ":ARCHITECTURE");
        let line = triplet.map_or_else(|| line.clone(), |triplet| line.replace(triplet, "TRIPLET"));
        hasher.update(line.as_bytes());
        hasher.update(b"\n");
    }
    hasher.finish().hex()[..16].to_owned()
}

/// Directories for libraries that a package names, and ld.so does not know by itself.
fn libraries(world: &World<'_>, number: usize) -> Option<Doubt> {
    let package = &world.packages[number];
    if ["libc6", "libc-bin"].contains(&package.name()) {
        return None;
    }
    let architecture = package.identity().architecture();
    let known: Vec<String> = match table::multiarch(architecture) {
        Some(triplet) => LIBRARY_DIRECTORIES
            .iter()
            .map(|directory| format!("{directory}/{triplet}"))
            .collect(),
        None => Vec::new(),
    };
    let mut directories = Vec::new();
    for file in world.files_in("etc/ld.so.conf.d", ".conf") {
        let is_own = world
            .files
            .get(&file)
            .is_some_and(|placed| placed.owner == Some(number));
        let content = world
            .read(&file)
            .ok()
            .flatten()
            .filter(|_| is_own)
            .unwrap_or_default();
        for (_, line) in words::lines(&String::from_utf8_lossy(&content)) {
            let line = line.trim_end_matches('/');
            if line.starts_with('/')
                && !LIBRARY_DIRECTORIES.contains(&line)
                && !known.iter().any(|known| known == line)
            {
                directories.push(line.escape_debug().to_string());
            }
        }
    }
    (!directories.is_empty()).then_some(Doubt::Libraries { directories })
}
