//! `[packages.debian]`: packages of Debian, by name.

use cairn_packages::debian::Request;
use jiff::Timestamp;

use super::keys::{DEBIAN, PACKAGES, SOURCE};
use crate::document::{Problem, Section, chain};
use crate::finding::{Finding, Located};

/// The longest address of a mirror, in bytes.
const URL_LIMIT: usize = 2048;
/// What stands for the date of a snapshot in `mirror`.
pub const SNAPSHOT: &str = "{snapshot}";

/// The most sources of a section.
const SOURCES_LIMIT: usize = 32;

/// Packages of Debian that the image gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Debian {
    /// Where the section stands.
    pub span: std::ops::Range<usize>,
    /// The suite that the section itself names.
    pub own: Option<DebianArchive>,
    /// Those of `[[packages.debian.source]]`: at least one, or [`Self::own`] is there.
    pub further: Vec<DebianArchive>,
    /// What is asked for: at least one.
    pub install: Vec<Located<Request>>,
    /// Whether what packages recommend comes too.
    pub recommends: bool,
    /// Whether an image without a base gets base-files and base-passwd.
    pub essential: bool,
}

/// A suite that packages are taken from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DebianArchive {
    /// Which release, such as `bookworm`.
    pub suite: Located<String>,
    /// The archive's root; none, and only of [`Debian::own`]: `CAIRN_DEBIAN_MIRROR`, else the host's own sources.
    pub mirror: Option<Located<String>>,
    /// Of the mirror. Default: `main`.
    pub components: Vec<String>,
    /// For which architectures of packages it is asked; none named: for all that the image needs.
    pub architectures: Vec<String>,
    /// A file with the keys that may sign the mirror, relative to the spec's directory; none: the host's.
    pub keyring: Option<Located<String>>,
    /// The time of which the archive is to be; none: now.
    pub snapshot: Option<Located<Timestamp>>,
    /// The root of a dated archive that has what the mirror no longer has.
    pub last_resort: Option<Located<String>>,
}

impl Debian {
    /// All suites, those that the section itself names first.
    pub fn archives(&self) -> impl Iterator<Item = &DebianArchive> {
        self.own.iter().chain(&self.further)
    }

    /// The dated archives that have what their mirrors no longer have: the mirror's root, if the spec names it, and the
    /// dated archive's.
    #[must_use]
    pub fn last_resorts(&self) -> Vec<(Option<String>, String)> {
        let resort = |archive: &DebianArchive| {
            let last = archive.last_resort.as_ref()?;
            let mirror = archive.mirror.as_ref();
            Some((
                mirror.map(|mirror| archive.mirror_at(&mirror.value)),
                last.value.clone(),
            ))
        };
        self.archives().filter_map(resort).collect()
    }
}

impl DebianArchive {
    /// The mirror with the date of the snapshot in its place, as snapshots are called: `20260601T000000Z`.
    #[must_use]
    pub fn mirror_at(&self, mirror: &str) -> String {
        let date = self
            .snapshot
            .as_ref()
            .map(|at| at.value.strftime("%Y%m%dT%H%M%SZ").to_string());
        mirror.replace(SNAPSHOT, &date.unwrap_or_default())
    }
}

pub(super) fn read(root: &Section<'_>) -> Option<Debian> {
    let packages = root.table("packages", "[packages]", &PACKAGES.names)?;
    let debian = packages.table("debian", "[packages.debian]", &DEBIAN.names);
    if !packages.has("debian") {
        packages.report(Finding::new(
            "[packages] needs [packages.debian]",
            packages.span(),
        ));
    }
    read_debian(&debian?)
}

fn read_debian(section: &Section<'_>) -> Option<Debian> {
    let elements = section.tables("source", "[[packages.debian.source]]", &SOURCE.names);
    let stands_alone = elements.is_empty() || section.has("suite");
    let own = stands_alone.then(|| read_archive(section, None));
    for key in ["components", "snapshot"] {
        if !stands_alone && section.has(key) {
            let message = format!("`{key}` needs a `suite` beside it, or belongs to a source");
            section.report(Finding::new(message, section.span()));
        }
    }
    let defaults = Defaults {
        mirror: section.parsed("mirror", mirror),
        keyring: section.parsed("keyring", keyring),
    };
    let further: Vec<_> = elements
        .iter()
        .map(|element| read_archive(element, Some(&defaults)))
        .collect();
    if elements.len() > SOURCES_LIMIT {
        let message = format!("there are more than {SOURCES_LIMIT} sources");
        section.report(Finding::new(message, section.span()));
    }
    let recommends = section.boolean("recommends").unwrap_or(false);
    let essential = section.boolean("essential").unwrap_or(true);
    if !section.has("install") {
        section.report(Finding::new("[packages.debian] needs `install`", section.span()));
    }
    let install = section.texts("install", |text| {
        text.parse::<Request>()
            .map_err(|error| Problem::new(chain(&error)))
    });
    let install = install?;
    let mut names: Vec<_> = install
        .iter()
        .map(|request| (&request.value, &request.span))
        .collect();
    names.sort_by_key(|(request, _)| *request);
    for pair in names.windows(2) {
        if pair[0].0 == pair[1].0 {
            section.report(Finding::new("the package is asked for twice", pair[1].1.clone()));
        }
    }
    if install.is_empty() {
        section.report(Finding::new("`install` names no package", section.span()));
    }
    Some(Debian {
        span: section.span(),
        own: match own {
            Some(own) => Some(own?),
            None => None,
        },
        further: further.into_iter().flatten().collect(),
        install,
        recommends,
        essential,
    })
}

/// What a source takes over from the section that it is in.
struct Defaults {
    mirror: Option<Located<String>>,
    keyring: Option<Located<String>>,
}

/// The suite that a section names. `defaults` are there for a source.
fn read_archive(section: &Section<'_>, defaults: Option<&Defaults>) -> Option<DebianArchive> {
    let suite = section.required("suite", suite);
    let own_mirror = section.parsed("mirror", mirror);
    let components = section.texts("components", component);
    let architectures = defaults.map(|_| section.texts("architectures", architecture));
    let own_keyring = section.parsed("keyring", keyring);
    let dated = read_snapshot(section);
    let mut mirror = own_mirror.or_else(|| defaults.and_then(|defaults| defaults.mirror.clone()));
    if let (Some(_), None, false) = (defaults, &mirror, section.has("mirror")) {
        let message = "the source needs `mirror`, or [packages.debian] needs one";
        section.report(Finding::new(message, section.span()));
    }
    let (mut snapshot, mut last_resort) = (None, None);
    match dated {
        Some(Dated::At(date)) => {
            check_snapshot(section, mirror.as_ref(), Some(&date));
            snapshot = Some(date);
        }
        Some(Dated::Archive { root, .. }) if mirror.is_some() => {
            check_snapshot(section, mirror.as_ref(), None);
            last_resort = Some(root);
        }
        // Without a mirror the dated archive is the one that is read.
        Some(Dated::Archive {
            root,
            date: Some(date),
        }) if !section.has("mirror") => {
            snapshot = Some(Located::new(date, root.span.clone()));
            mirror = Some(root);
        }
        // Of the host's own sources.
        Some(Dated::Archive { root, .. }) => last_resort = Some(root),
        None => check_snapshot(section, mirror.as_ref(), None),
    }
    Some(DebianArchive {
        suite: suite?,
        mirror,
        components: match components {
            Some(components) => components.into_iter().map(|component| component.value).collect(),
            None => vec!["main".to_owned()],
        },
        architectures: architectures
            .flatten()
            .unwrap_or_default()
            .into_iter()
            .map(|architecture| architecture.value)
            .collect(),
        keyring: own_keyring.or_else(|| defaults.and_then(|defaults| defaults.keyring.clone())),
        snapshot,
        last_resort,
    })
}

/// What `snapshot` says.
enum Dated {
    /// A date; the mirror has a place for it.
    At(Located<Timestamp>),
    /// The root of a dated archive, and the date in it.
    Archive {
        root: Located<String>,
        date: Option<Timestamp>,
    },
}

fn read_snapshot(section: &Section<'_>) -> Option<Dated> {
    let text = section.text_or_date("snapshot")?;
    if let Ok(time) = text.value.parse::<Timestamp>() {
        return Some(Dated::At(Located::new(time, text.span)));
    }
    if text.value.contains(SNAPSHOT) {
        let message = format!("`snapshot` has a date, or an address with a date in it, not {SNAPSHOT}");
        section.report(Finding::new(message, text.span));
        return None;
    }
    if let Ok(root) = mirror(&text.value) {
        let date = root.split('/').find_map(date_in_path);
        return Some(Dated::Archive {
            root: Located::new(root, text.span),
            date,
        });
    }
    let message = format!(
        "`{}` is neither a date such as 2026-06-01T00:00:00Z nor the address of a dated archive",
        text.value.escape_debug()
    );
    section.report(Finding::new(message, text.span));
    None
}

/// `20260601T000000Z`
fn date_in_path(part: &str) -> Option<Timestamp> {
    let digits = part.strip_suffix('Z')?;
    let (day, time) = digits.split_once('T')?;
    let is_number = |text: &str, length| text.len() == length && text.bytes().all(|b| b.is_ascii_digit());
    if !is_number(day, 8) || !is_number(time, 6) {
        return None;
    }
    let text = format!(
        "{}-{}-{}T{}:{}:{}Z",
        &day[..4],
        &day[4..6],
        &day[6..],
        &time[..2],
        &time[2..4],
        &time[4..]
    );
    text.parse().ok()
}

/// A date and a place for it in the mirror belong together.
fn check_snapshot(
    section: &Section<'_>,
    mirror: Option<&Located<String>>,
    snapshot: Option<&Located<Timestamp>>,
) {
    match (mirror, snapshot) {
        (Some(mirror), Some(_)) if !mirror.value.contains(SNAPSHOT) => {
            let message = format!("`snapshot` has no effect: the mirror has no {SNAPSHOT}");
            section.report(Finding::new(message, mirror.span.clone()));
        }
        (Some(mirror), None) if mirror.value.contains(SNAPSHOT) => {
            let message = format!("the mirror has {SNAPSHOT}, and there is no date in `snapshot`");
            section.report(Finding::new(message, mirror.span.clone()));
        }
        (None, Some(snapshot)) => {
            let message = format!("`snapshot` needs a `mirror` with {SNAPSHOT} in it");
            section.report(Finding::new(message, snapshot.span.clone()));
        }
        _ => {}
    }
}

#[expect(clippy::unnecessary_wraps, reason = "one of the ways in which texts are read")]
fn keyring(text: &str) -> Result<String, Problem> {
    Ok(text.to_owned())
}

fn architecture(text: &str) -> Result<String, Problem> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !text.is_empty() && text.len() <= 64 && text.bytes().all(plain) && text != "all" {
        return Ok(text.to_owned());
    }
    Err(Problem::new(format!(
        "`{}` is not an architecture of Debian's, such as `arm64`",
        text.escape_debug()
    )))
}

fn word(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._+/".contains(&byte);
    !text.is_empty()
        && text.len() <= 255
        && text.bytes().all(plain)
        && !text.split('/').any(|part| part == "..")
}

fn suite(text: &str) -> Result<String, Problem> {
    if word(text) && !text.starts_with('/') {
        return Ok(text.to_owned());
    }
    Err(Problem::new(format!(
        "`{}` is not a suite, such as `bookworm`",
        text.escape_debug()
    )))
}

fn component(text: &str) -> Result<String, Problem> {
    if word(text) && !text.starts_with('/') {
        return Ok(text.to_owned());
    }
    Err(Problem::new(format!(
        "`{}` is not a component, such as `main`",
        text.escape_debug()
    )))
}

fn mirror(text: &str) -> Result<String, Problem> {
    let known = ["https://", "http://", "file:/"];
    let is_url = known
        .iter()
        .any(|scheme| text.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty()));
    let plain = text
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && !b"#?@\\\"<>".contains(&byte));
    if is_url && plain && text.len() <= URL_LIMIT {
        return Ok(text.trim_end_matches('/').to_owned());
    }
    let problem = Problem::new(format!(
        "`{}` is not the address of an archive",
        text.escape_debug()
    ));
    Err(problem.with_hint("such as https://mirror.example.org/debian, or file:/srv/debian"))
}
