//! `[packages.debian]`: packages of Debian, by name.

use cairn_packages::debian::Request;
use jiff::Timestamp;

use super::keys::{DEBIAN, PACKAGES};
use crate::document::{Problem, Section, chain};
use crate::finding::{Finding, Located};

/// The longest address of a mirror, in bytes.
const URL_LIMIT: usize = 2048;
/// What stands for the date of a snapshot in `mirror`.
pub const SNAPSHOT: &str = "{snapshot}";

/// Packages of Debian that the image gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Debian {
    /// Where the section stands.
    pub span: std::ops::Range<usize>,
    /// Which release, such as `bookworm`.
    pub suite: Located<String>,
    /// The archive's root; none: `CAIRN_DEBIAN_MIRROR`, else the host's own sources.
    pub mirror: Option<Located<String>>,
    /// Of the mirror. Default: `main`.
    pub components: Vec<String>,
    /// What is asked for: at least one.
    pub install: Vec<Located<Request>>,
    /// Whether what packages recommend comes too.
    pub recommends: bool,
    /// A file with the keys that may sign the mirror, relative to the spec's directory; none: the host's.
    pub keyring: Option<Located<String>>,
    /// The time of which the archive is to be; none: now.
    pub snapshot: Option<Located<Timestamp>>,
}

impl Debian {
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
    let suite = section.required("suite", suite);
    let mirror = section.parsed("mirror", mirror);
    let components = section.texts("components", component);
    let recommends = section.boolean("recommends").unwrap_or(false);
    let keyring = section.parsed("keyring", |text| Ok(text.to_owned()));
    let snapshot = section
        .text_or_date("snapshot")
        .and_then(|text| match text.value.parse::<Timestamp>() {
            Ok(time) => Some(Located::new(time, text.span)),
            Err(_) => {
                let message = format!(
                    "`{}` is not a date such as 2026-06-01T00:00:00Z",
                    text.value.escape_debug()
                );
                section.report(Finding::new(message, text.span));
                None
            }
        });
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
    if let (Some(mirror), has_snapshot) = (&mirror, snapshot.is_some())
        && mirror.value.contains(SNAPSHOT) != has_snapshot
    {
        let message = if has_snapshot {
            format!("`snapshot` has no effect: the mirror has no {SNAPSHOT}")
        } else {
            format!("the mirror has {SNAPSHOT}, and there is no `snapshot`")
        };
        section.report(Finding::new(message, mirror.span.clone()));
    }
    if let (None, Some(snapshot)) = (&mirror, &snapshot) {
        let message = format!("`snapshot` needs a `mirror` with {SNAPSHOT} in it");
        section.report(Finding::new(message, snapshot.span.clone()));
    }
    Some(Debian {
        span: section.span(),
        suite: suite?,
        mirror,
        components: match components {
            Some(components) => components.into_iter().map(|component| component.value).collect(),
            None => vec!["main".to_owned()],
        },
        install,
        recommends,
        keyring,
        snapshot,
    })
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
