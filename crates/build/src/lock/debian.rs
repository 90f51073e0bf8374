//! Packages of Debian in the lock: what was asked, of which archives, and what has to be there for it.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use cairn_oci::{Digest, Platform};
use cairn_packages::Installed;
use jiff::Timestamp;

use super::Lock;
use super::reader::{digest, text};
use super::text::quoted;
use super::writer::list;
use crate::document::{Keys, Problem, Section, chain};
use crate::finding::{Finding, Located};
use crate::spec::{Debian, DebianArchive, Spec};

const PACKAGES: Keys = Keys::all(&["debian"]);
const DEBIAN: Keys = Keys::all(&[
    "suite",
    "mirror",
    "components",
    "install",
    "recommends",
    "essential",
    "snapshot",
    "sources",
    "archives",
    "platform",
]);
const SOURCE: Keys = Keys::all(&["suite", "mirror", "components", "architectures", "snapshot"]);
const ARCHIVE: Keys = Keys::all(&["uri", "suite", "date"]);
const PLATFORM: Keys = Keys::all(&["platform", "packages"]);
const PACKAGE: Keys = Keys::all(&["package", "url", "suite", "size", "digest", "for"]);

/// Packages of Debian, pinned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedDebian {
    /// What the spec asks for.
    pub asked: Asked,
    /// The archives that were read, in the order in which they count.
    pub archives: Vec<LockedArchive>,
    /// What has to be there for each platform of the spec, sorted by name.
    pub platforms: BTreeMap<Platform, Located<Vec<LockedPackage>>>,
}

/// What of the spec decides which packages have to be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The suite that the section itself names.
    own: Option<AskedArchive>,
    further: Vec<AskedArchive>,
    install: Vec<String>,
    recommends: bool,
    essential: bool,
}

/// A suite that is read.
#[derive(Debug, Clone, PartialEq, Eq)]
struct AskedArchive {
    suite: String,
    mirror: Option<String>,
    components: Vec<String>,
    architectures: Vec<String>,
    snapshot: Option<Timestamp>,
}

/// An archive that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedArchive {
    /// Its root.
    pub uri: String,
    /// Its suite.
    pub suite: String,
    /// The date of its signed file. A later lock takes no older one.
    pub date: Timestamp,
}

/// A package that has to be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockedPackage {
    /// Its name, version and architecture.
    pub package: Installed,
    /// Where it was found.
    pub url: String,
    /// In which suite.
    pub suite: String,
    /// Its size in bytes.
    pub size: u64,
    /// What it is.
    pub digest: Digest,
    /// Which package needs it; none: it was asked for.
    pub needed_by: Option<String>,
}

impl LockedDebian {
    /// The newest date of the archives that packages of it are from.
    pub(crate) fn newest_date(&self) -> Option<Timestamp> {
        let packages = self.platforms.values().flat_map(|packages| &packages.value);
        let of_package = |package: &LockedPackage| {
            let archives = self.archives.iter().filter(|archive| {
                let below = package.url.strip_prefix(&archive.uri);
                archive.suite == package.suite && below.is_some_and(|path| path.starts_with('/'))
            });
            archives.map(|archive| archive.date).max()
        };
        packages.filter_map(of_package).max()
    }
}

impl Asked {
    /// What the spec asks for.
    #[must_use]
    pub fn of(spec: &Debian) -> Self {
        let mut install: Vec<_> = spec
            .install
            .iter()
            .map(|request| request.value.to_string())
            .collect();
        install.sort();
        Self {
            own: spec.own.as_ref().map(AskedArchive::of),
            further: spec.further.iter().map(AskedArchive::of).collect(),
            install,
            recommends: spec.recommends,
            essential: spec.essential,
        }
    }
}

impl AskedArchive {
    fn of(archive: &DebianArchive) -> Self {
        Self {
            suite: archive.suite.value.clone(),
            mirror: archive.mirror.as_ref().map(|mirror| mirror.value.clone()),
            components: archive.components.clone(),
            architectures: archive.architectures.clone(),
            snapshot: archive.snapshot.as_ref().map(|snapshot| snapshot.value),
        }
    }

    /// As an element of `sources`.
    fn text(&self) -> String {
        let texts = |list: &[String]| {
            list.iter()
                .map(|text| quoted(text))
                .collect::<Vec<_>>()
                .join(", ")
        };
        let mut text = format!("{{ suite = {}", quoted(&self.suite));
        if let Some(mirror) = &self.mirror {
            text.push_str(&format!(", mirror = {}", quoted(mirror)));
        }
        text.push_str(&format!(", components = [{}]", texts(&self.components)));
        if !self.architectures.is_empty() {
            text.push_str(&format!(", architectures = [{}]", texts(&self.architectures)));
        }
        if let Some(snapshot) = self.snapshot {
            text.push_str(&format!(", snapshot = \"{snapshot}\""));
        }
        text.push_str(" }");
        text
    }

    /// `section` is an element of `sources`, or the section with the keys of its own suite.
    fn read(section: &Section<'_>) -> Option<Self> {
        let suite = section.required("suite", text);
        let texts = |key| {
            let texts = section.texts(key, text).unwrap_or_default();
            texts.into_iter().map(|text| text.value).collect::<Vec<_>>()
        };
        Some(Self {
            mirror: section.parsed("mirror", text).map(|mirror| mirror.value),
            components: texts("components"),
            architectures: texts("architectures"),
            snapshot: section.parsed("snapshot", date).map(|snapshot| snapshot.value),
            suite: suite?.value,
        })
    }
}

/// Whether the lock's packages are those of another section than the spec has.
pub(super) fn other(lock: &Lock, spec: &Spec) -> Option<Finding> {
    let locked = lock.packages.as_ref()?;
    let message = match &spec.packages {
        None => "the lock pins packages, the spec asks for none",
        Some(wanted) if Asked::of(wanted) != locked.value.asked => {
            "the lock pins packages for another [packages.debian] than the spec has"
        }
        Some(_) => return None,
    };
    Some(Finding::new(message, locked.span.clone()))
}

/// For which platforms there are no packages yet.
pub(super) fn missing(lock: &Lock, spec: &Spec) -> Vec<String> {
    if spec.packages.is_none() {
        return Vec::new();
    }
    let pinned = lock.packages.as_ref().map(|packages| &packages.value.platforms);
    let platforms = spec.platforms();
    let missing = platforms.filter(|platform| !pinned.is_some_and(|pinned| pinned.contains_key(platform)));
    missing
        .map(|platform| format!("the packages for {platform}"))
        .collect()
}

pub(super) fn write(locked: &LockedDebian, at: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let asked = &locked.asked;
    writeln!(f, "\n[{at}packages.debian]")?;
    if let Some(own) = &asked.own {
        writeln!(f, "suite = {}", quoted(&own.suite))?;
        if let Some(mirror) = &own.mirror {
            writeln!(f, "mirror = {}", quoted(mirror))?;
        }
        list(
            f,
            "components",
            own.components.iter().map(|component| quoted(component)),
        )?;
    }
    list(f, "install", asked.install.iter().map(|request| quoted(request)))?;
    writeln!(f, "recommends = {}", asked.recommends)?;
    if !asked.essential {
        writeln!(f, "essential = false")?;
    }
    if let Some(snapshot) = asked.own.as_ref().and_then(|own| own.snapshot) {
        writeln!(f, "snapshot = \"{snapshot}\"")?;
    }
    if !asked.further.is_empty() {
        list(f, "sources", asked.further.iter().map(AskedArchive::text))?;
    }
    let archives = locked.archives.iter().map(|archive| {
        let LockedArchive { uri, suite, date } = archive;
        format!(
            "{{ uri = {}, suite = {}, date = \"{date}\" }}",
            quoted(uri),
            quoted(suite)
        )
    });
    list(f, "archives", archives)?;
    for (platform, packages) in &locked.platforms {
        writeln!(f, "\n[[{at}packages.debian.platform]]\nplatform = \"{platform}\"")?;
        list(f, "packages", packages.value.iter().map(package_text))?;
    }
    Ok(())
}

fn package_text(locked: &LockedPackage) -> String {
    let mut text = format!(
        "{{ package = \"{}\", url = {}, suite = {}, size = {}, digest = \"{}\"",
        locked.package,
        quoted(&locked.url),
        quoted(&locked.suite),
        locked.size,
        locked.digest
    );
    if let Some(name) = &locked.needed_by {
        // Writing to a String cannot fail.
        write!(text, ", for = {}", quoted(name)).unwrap_or_default();
    }
    text.push_str(" }");
    text
}

pub(super) fn read(root: &Section<'_>) -> Option<Located<LockedDebian>> {
    let packages = root.table("packages", "[packages]", &PACKAGES)?;
    let section = packages.table("debian", "[packages.debian]", &DEBIAN)?;
    let texts = |key| {
        let texts = section.texts(key, text).unwrap_or_default();
        texts.into_iter().map(|text| text.value).collect::<Vec<_>>()
    };
    let sources = section.tables("sources", "`sources`", &SOURCE);
    let further: Vec<_> = sources.iter().filter_map(AskedArchive::read).collect();
    let own = match sources.is_empty() || section.has("suite") {
        true => Some(AskedArchive::read(&section)),
        false => None,
    };
    let archives = section.tables("archives", "`archives`", &ARCHIVE);
    let archives: Vec<_> = archives.iter().filter_map(read_archive).collect();
    let mut platforms = BTreeMap::new();
    for platform in section.tables("platform", "[[packages.debian.platform]]", &PLATFORM) {
        let key = platform.required("platform", |text| {
            text.parse::<Platform>()
                .map_err(|error| Problem::new(chain(&error)))
        });
        let found = platform.tables("packages", "`packages`", &PACKAGE);
        let found: Vec<_> = found.iter().filter_map(read_package).collect();
        let Some(key) = key else { continue };
        let span = key.span.clone();
        if platforms
            .insert(key.value, Located::new(found, key.span))
            .is_some()
        {
            section.report(Finding::new("the platform is pinned twice", span));
        }
    }
    let asked = Asked {
        own: match own {
            Some(own) => Some(own?),
            None => None,
        },
        further,
        install: texts("install"),
        recommends: section.boolean("recommends").unwrap_or(false),
        essential: section.boolean("essential").unwrap_or(true),
    };
    let locked = LockedDebian {
        asked,
        archives,
        platforms,
    };
    Some(Located::new(locked, section.span()))
}

fn read_archive(section: &Section<'_>) -> Option<LockedArchive> {
    let uri = section.required("uri", text);
    let suite = section.required("suite", text);
    let date = section.required("date", date);
    Some(LockedArchive {
        uri: uri?.value,
        suite: suite?.value,
        date: date?.value,
    })
}

fn read_package(section: &Section<'_>) -> Option<LockedPackage> {
    let package = section.required("package", |text| {
        text.parse::<Installed>()
            .map_err(|error| Problem::new(chain(&error)))
    });
    let url = section.required("url", text);
    let suite = section.required("suite", text);
    let size = section.required_integer("size");
    let digest = section.required("digest", digest);
    let needed_by = section.parsed("for", text).map(|name| name.value);
    let size = size?;
    let Ok(bytes) = u64::try_from(size.value) else {
        section.report(Finding::new("a size is not negative", size.span));
        return None;
    };
    Some(LockedPackage {
        package: package?.value,
        url: url?.value,
        suite: suite?.value,
        size: bytes,
        digest: digest?.value,
        needed_by,
    })
}

fn date(text: &str) -> Result<Timestamp, Problem> {
    let parsed = text.parse::<Timestamp>().ok();
    let parsed = parsed.filter(|time| time.to_string() == text);
    parsed.ok_or_else(|| {
        Problem::new(format!(
            "`{}` is not a date as the lock writes it",
            text.escape_debug()
        ))
    })
}
