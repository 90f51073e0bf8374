//! `fetch`: files and archives from a URL, each with the SHA-256 that it must have.

use std::collections::BTreeMap;

use cairn_layer::{GlobFilter, TreePath};
use cairn_oci::{Digest, Platform};

use super::reader::read_mode;
use super::values::{Destination, Owner, Template};
use super::{Layer, Spec};
use crate::document::{Findings, Problem, Section, chain};
use crate::finding::{Finding, Located};

/// The longest URL, in bytes.
const URL_LIMIT: usize = 2048;

/// Takes a file from a URL, or what is in an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// From where: HTTPS, or HTTP from this machine.
    pub url: Located<Template>,
    /// What must be there.
    pub sha256: Located<Checksum>,
    /// Where to. An archive goes into it, however it is written.
    pub to: Located<Destination>,
    /// How the archive is unpacked; none: the file itself is wanted.
    pub extract: Option<Extract>,
    /// Mode of all files, if given. Default 0644 for the file itself, else what the archive says.
    pub mode: Option<u32>,
    /// Owner of all that comes, if given. Default 0:0 for the file itself, else what the archive says.
    pub owner: Option<Located<Owner>>,
}

/// The SHA-256 of what a URL gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checksum {
    /// The same for all platforms.
    One(Digest),
    /// One for each platform of the spec.
    ByPlatform(BTreeMap<Platform, Digest>),
}

/// What of an archive is taken.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Extract {
    /// How many leading components each name loses.
    pub strip: usize,
    /// Globs of what is left out, relative to where `strip` leads.
    pub exclude: Vec<String>,
    /// Globs of what alone is taken; empty: everything.
    pub only: Vec<String>,
}

impl Fetch {
    /// The URL for `platform`.
    #[must_use]
    pub fn url_for(&self, platform: &Platform) -> String {
        self.url.value.expand(platform)
    }

    /// What the URL must give for `platform`; none if it is not one of the spec's.
    #[must_use]
    pub fn digest_for(&self, platform: &Platform) -> Option<Digest> {
        match &self.sha256.value {
            Checksum::One(digest) => Some(*digest),
            Checksum::ByPlatform(digests) => digests.get(platform).copied(),
        }
    }

    /// Where the file itself goes: as `copy` does it, with the name that the URL ends in.
    pub(crate) fn path_for(&self, url: &str) -> Result<TreePath, Problem> {
        let directory = match &self.to.value {
            Destination::Exactly(path) => return Ok(path.clone()),
            Destination::Into(directory) => directory,
        };
        let path = url.split(['?', '#']).next().unwrap_or_default();
        let after_host = path.split_once("://").map_or("", |(_, rest)| rest);
        let name = after_host.split_once('/').map_or("", |(_, path)| path);
        let name = name.rsplit('/').next().unwrap_or_default();
        let unnamed = || {
            Problem::new("the URL does not end in a name that the file could have")
                .with_hint("give the whole path in `to`, without a slash at its end")
        };
        if name.contains('%') {
            return Err(unnamed());
        }
        let name = TreePath::new(name).map_err(|_| unnamed())?;
        let path = match directory {
            Some(directory) => directory.join(&name),
            None => Ok(name),
        };
        path.map_err(|error| Problem::new(chain(&error)))
    }
}

impl Spec {
    /// Every `fetch` with the number of its layer and its own number in it.
    pub(crate) fn fetches(&self) -> impl Iterator<Item = ((usize, usize), &Fetch)> {
        let layers = self.layers.iter().enumerate();
        layers.flat_map(|(layer, Layer { fetches, .. })| {
            let fetches = fetches.iter().enumerate();
            fetches.map(move |(number, fetch)| ((layer, number), fetch))
        })
    }

    /// Every URL that some platform needs, and what it must give.
    pub(crate) fn fetched(&self) -> BTreeMap<String, Digest> {
        let mut urls = BTreeMap::new();
        for (_, fetch) in self.fetches() {
            for platform in self.platforms() {
                if let Some(digest) = fetch.digest_for(platform) {
                    urls.insert(fetch.url_for(platform), digest);
                }
            }
        }
        urls
    }
}

pub(super) fn read(section: &Section<'_>) -> Option<Fetch> {
    let url = section.required("url", url);
    let sha256 = read_checksum(section);
    let to = section.required("to", Destination::parse);
    let owner = section.parsed("owner", Owner::parse);
    let mode = read_mode(section, "mode");
    let extract = read_extract(section);
    let fetch = Fetch {
        url: url?,
        sha256: sha256?,
        to: to?,
        extract,
        mode,
        owner,
    };
    if fetch.extract.is_none()
        && let Err(problem) = fetch.path_for(fetch.url.value.as_str())
    {
        section.report(problem.at(fetch.to.span.clone()));
    }
    Some(fetch)
}

fn read_extract(section: &Section<'_>) -> Option<Extract> {
    // What is no truth value has its finding already.
    let is_wanted = section
        .boolean("extract")
        .unwrap_or_else(|| section.has("extract"));
    let strip = section.integer("strip").and_then(|strip| {
        let number = usize::try_from(strip.value).ok().filter(|number| *number <= 64);
        if number.is_none() {
            let message = format!("`strip` is {}, not a number from 0 to 64", strip.value);
            section.report(Finding::new(message, strip.span));
        }
        number
    });
    let globs = |key| {
        let globs = section.texts(key, |glob| match GlobFilter::new([glob]) {
            Ok(_) => Ok(glob.to_owned()),
            Err(error) => Err(Problem::new(chain(&error))),
        });
        globs
            .unwrap_or_default()
            .into_iter()
            .map(|glob| glob.value)
            .collect()
    };
    let extract = Extract {
        strip: strip.unwrap_or(0),
        exclude: globs("exclude"),
        only: globs("only"),
    };
    if is_wanted {
        return Some(extract);
    }
    for key in ["strip", "exclude", "only"] {
        if let Some(span) = section.key_span(key) {
            let finding = Finding::new(format!("`{key}` is for archives that are unpacked"), span);
            section.report(finding.with_hint("add extract = true, or leave it away"));
        }
    }
    None
}

fn read_checksum(section: &Section<'_>) -> Option<Located<Checksum>> {
    let Some(span) = section.key_span("sha256") else {
        let finding = Finding::new(
            "`fetch` needs `sha256`: a URL may give something else tomorrow",
            section.span(),
        );
        let hint = "take it from whoever publishes the file; `curl -L URL | sha256sum` says what it is today";
        section.report(finding.with_hint(hint));
        return None;
    };
    if !section.is_table("sha256") {
        return section.parsed("sha256", |text| digest(text).map(Checksum::One));
    }
    let mut digests = BTreeMap::new();
    for (name, (name_span, text)) in section.text_map("sha256")? {
        let platform = name
            .parse::<Platform>()
            .map_err(|error| Problem::new(chain(&error)).at(name_span));
        let digest = digest(&text.value).map_err(|problem| problem.at(text.span.clone()));
        match (platform, digest) {
            (Ok(platform), Ok(digest)) => {
                digests.insert(platform, digest);
            }
            (platform, digest) => {
                platform
                    .err()
                    .into_iter()
                    .for_each(|finding| section.report(finding));
                digest
                    .err()
                    .into_iter()
                    .for_each(|finding| section.report(finding));
            }
        }
    }
    Some(Located::new(Checksum::ByPlatform(digests), span))
}

/// `sha256:` and 64 hexadecimal digits, or these alone.
fn digest(text: &str) -> Result<Digest, Problem> {
    let whole = if text.contains(':') {
        text.to_owned()
    } else {
        format!("sha256:{text}")
    };
    whole.parse().map_err(|_| {
        Problem::new(format!("`{}` is not a SHA-256", text.escape_debug()))
            .with_hint("it has 64 digits: 0 to 9 and small a to f")
    })
}

/// Reads an HTTPS URL, or an HTTP one of this machine, without user name and fragment.
fn url(text: &str) -> Result<Template, Problem> {
    let shown = text.escape_debug();
    let is_url_character = |c: char| c.is_ascii_graphic() && !"\"<>\\^`|".contains(c);
    if text.len() > URL_LIMIT || !text.chars().all(is_url_character) {
        let problem = Problem::new(format!("`{shown}` is no URL"));
        return Err(problem
            .with_hint("a URL has at most 2048 ASCII characters without spaces; others are written as %20"));
    }
    let (is_secure, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
        (Some(rest), _) => (true, rest),
        (None, Some(rest)) => (false, rest),
        (None, None) => {
            let problem = Problem::new(format!("`{shown}` is no URL of HTTPS"));
            return Err(problem.with_hint("a file of the spec's directory is taken with `copy`"));
        }
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err(Problem::new("a user name in a URL would be a secret in the spec")
            .with_hint("no credentials are sent to the hosts of URLs"));
    }
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    if host.is_empty() {
        return Err(Problem::new(format!("`{shown}` has no host")));
    }
    if text.contains('#') {
        return Err(Problem::new(format!(
            "`{shown}` has a fragment, which no server sees"
        )));
    }
    if !is_secure && !is_this_machine(host) {
        let problem = Problem::new(format!("`{shown}` goes to another machine without TLS"));
        return Err(problem.with_hint("write https://"));
    }
    Template::parse(text)
}

fn is_this_machine(host: &str) -> bool {
    let address = host.parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// What must hold between a `fetch`, the platforms, and the others.
pub(super) fn check(spec: &Spec, findings: &Findings) {
    let mut known: BTreeMap<String, Digest> = BTreeMap::new();
    for (_, fetch) in spec.fetches() {
        check_platforms(spec, fetch, findings);
        for platform in spec.platforms() {
            let (url, Some(digest)) = (fetch.url_for(platform), fetch.digest_for(platform)) else {
                continue;
            };
            let before = *known.entry(url.clone()).or_insert(digest);
            if before != digest {
                let message = format!("{url} cannot be both {before} and {digest}");
                findings.push(Finding::new(message, fetch.sha256.span.clone()));
                break;
            }
        }
    }
}

fn check_platforms(spec: &Spec, fetch: &Fetch, findings: &Findings) {
    let span = &fetch.sha256.span;
    match &fetch.sha256.value {
        Checksum::One(_) => {
            let mut urls: Vec<_> = spec.platforms().map(|platform| fetch.url_for(platform)).collect();
            urls.sort();
            urls.dedup();
            if urls.len() > 1 {
                let message = "the URL differs by platform, and there is one `sha256`";
                let platforms = spec.platforms().map(|platform| format!("\"{platform}\" = \"…\""));
                let platforms: Vec<_> = platforms.collect();
                findings.push(
                    Finding::new(message, span.clone())
                        .with_hint(format!("write sha256 = {{ {} }}", platforms.join(", "))),
                );
            }
        }
        Checksum::ByPlatform(digests) => {
            for platform in spec
                .platforms()
                .filter(|platform| !digests.contains_key(platform))
            {
                findings.push(Finding::new(
                    format!("there is no `sha256` for {platform}"),
                    span.clone(),
                ));
            }
            let known: Vec<&Platform> = spec.platforms().collect();
            for platform in digests.keys().filter(|platform| !known.contains(platform)) {
                let message = format!("`sha256` has {platform}, which is not a platform of the spec");
                findings.push(Finding::new(message, span.clone()));
            }
        }
    }
}
