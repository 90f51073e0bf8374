//! Several images in one place: `[workspace]`, and what its members inherit.
//!
//! A workspace's root has a `cairn.toml` with `[workspace]`, which names the directories of its members. Each member has a spec of
//! its own, that may leave values to the root:
//!
//! ```text
//!   cairn.toml                               web/cairn.toml
//!   [workspace]                              [image]
//!   members = ["web", "services/*"]          name = "web"
//!   [workspace.image]                        platforms.workspace = true
//!   platforms = ["linux/amd64"]
//!   [workspace.base]                         [base]
//!   oci = "vendor/debian:12"                 workspace = true
//! ```
//!
//! What is inherited is put into the member's document before the spec is read, so that nothing after it knows of workspaces.
//! Paths of the root are made relative to the member.

use std::borrow::Cow;
use std::ops::Range;

use cairn_layer::{GlobFilter, TreePath};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::document::{self, Findings, Problem, Section, chain};
use crate::finding::{Finding, Located};
use crate::spec::{LIMIT, Spec, keys, shared_keys};

const WORKSPACE: &str = "workspace";

/// The sections of which values are inherited.
const SECTIONS: [&str; 4] = ["image", "base", "config", "ledger"];
/// Keys of `[base]` that are paths of this machine.
const PATHS: [&str; 3] = ["oci", "archive", "rootfs"];

const NO_WORKSPACE: &str = "a cairn.toml above, with [workspace], must list this directory as a member";

/// `[workspace]`: which directories belong together.
#[derive(Debug, Clone)]
pub struct Workspace {
    /// The members' directories, relative to the root, with globs; in the order of the text.
    pub members: Vec<Located<String>>,
    /// Globs of directories that are none.
    pub exclude: Vec<Located<String>>,
    /// Whether the root is an image too.
    pub has_image: bool,
}

impl Workspace {
    /// Reads the `[workspace]` of a `cairn.toml`; none if it has none.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it, in the order of the text.
    pub fn parse(text: &str) -> Result<Option<Self>, Vec<Finding>> {
        let findings = Findings::default();
        let Some(root) = document::parse(text, LIMIT, &findings) else {
            // What is wrong with the document is told by whoever reads the rest of it.
            return Ok(None);
        };
        if !root.get_ref().contains_key(WORKSPACE) {
            return Ok(None);
        }
        let workspace = read(root.get_ref(), &findings);
        match workspace {
            Some(workspace) if findings.is_empty() => Ok(Some(workspace)),
            _ => Err(findings.into_sorted()),
        }
    }

    /// Whether the directory `path`, relative to the root and with `/` between its names, is a member.
    #[must_use]
    pub fn has_member(&self, path: &str) -> bool {
        matches(&self.members, path) && !self.excludes(path)
    }

    /// Whether a member is named by a glob, and not by its path.
    #[must_use]
    pub fn is_glob(member: &str) -> bool {
        member.contains(['*', '?', '[', '{', '\\'])
    }

    /// Whether the directory `path` is none by `exclude`.
    #[must_use]
    pub fn excludes(&self, path: &str) -> bool {
        matches(&self.exclude, path)
    }
}

fn matches(globs: &[Located<String>], path: &str) -> bool {
    let Ok(path) = TreePath::new(path) else {
        return false;
    };
    let filter = GlobFilter::new(globs.iter().map(|glob| &glob.value));
    // A path whose parent matches would be excluded by it; a member is only what a glob names itself.
    filter.is_ok_and(|filter| filter.excludes(&path, true))
}

fn read(root: &DeTable<'_>, findings: &Findings) -> Option<Workspace> {
    let Some(DeValue::Table(table)) = root.get(WORKSPACE).map(Spanned::get_ref) else {
        findings.push(Finding::new("`workspace` must be a table", 0..0));
        return None;
    };
    let span = root.get(WORKSPACE).map_or(0..0, Spanned::span);
    let section = Section::of("[workspace]", table, span, &keys::WORKSPACE.names, findings);
    for name in SECTIONS {
        if section.has(name) {
            section.table(name, &format!("[workspace.{name}]"), shared_keys(name));
        }
    }
    let members = section.texts("members", glob);
    if !section.has("members") {
        let hint = "name the directories of the images: members = [\"web\", \"services/*\"]";
        section.report(Finding::new("[workspace] needs `members`", section.span()).with_hint(hint));
    }
    Some(Workspace {
        members: members?,
        exclude: section.texts("exclude", glob).unwrap_or_default(),
        has_image: root.contains_key("image"),
    })
}

/// A directory below the root, or a glob for such; without `./` before it and a slash after it.
fn glob(text: &str) -> Result<String, Problem> {
    let path = text.strip_prefix("./").unwrap_or(text).trim_end_matches('/');
    let is_name = |name: &str| !matches!(name, "" | "." | "..");
    if !path.split('/').all(is_name) {
        let problem = Problem::new(format!("`{text}` is no directory below the workspace"));
        return Err(problem.with_hint("members are named relative to the root's cairn.toml"));
    }
    if path.contains("**") {
        let problem = Problem::new(format!("`{text}` would look everywhere"));
        return Err(
            problem.with_hint("a `*` for each level of directories names them: services/*, teams/*/*")
        );
    }
    // The directories are looked for name by name.
    for name in path.split('/') {
        GlobFilter::new([name]).map_err(|error| Problem::new(chain(&error)))?;
    }
    Ok(path.to_owned())
}

impl Spec {
    /// Reads the spec of a member: `root` is the text of the root's `cairn.toml`, `up` the way from the member's directory to the
    /// root, such as `../../`.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it, in the order of its text; what is inherited stands where it is asked for.
    pub fn parse_member(text: &str, root: &str, up: &str) -> Result<Self, Vec<Finding>> {
        crate::spec::read_member(text, root, up)
    }
}

/// Puts the values of the document `root` in the place of each `workspace = true`, and gives the places of those; none
/// if something is not there to be inherited. Without a workspace there is nothing.
pub(crate) fn inherit<'t>(
    member: &mut DeTable<'t>,
    root: Option<&DeTable<'t>>,
    up: &str,
    findings: &Findings,
) -> Option<Vec<Range<usize>>> {
    let nothing = DeTable::new();
    let shared = match root.and_then(|root| root.get(WORKSPACE)).map(Spanned::get_ref) {
        Some(DeValue::Table(shared)) => shared,
        _ => &nothing,
    };
    let (mut is_whole, mut places) = (true, Vec::new());
    let mut report = |what: String, span: Range<usize>| {
        is_whole = false;
        findings.push(match root {
            Some(_) => absent(&what, span),
            None => Finding::new("there is no workspace to inherit from", span).with_hint(NO_WORKSPACE),
        });
    };
    let name = text_of(member, "image", "name").unwrap_or_default();
    for section in SECTIONS {
        let of_root = match shared.get(section).map(Spanned::get_ref) {
            Some(DeValue::Table(table)) => Some(table),
            _ => None,
        };
        let Some(own) = member.get_mut(section).map(Spanned::get_mut) else {
            continue;
        };
        let DeValue::Table(own) = own else { continue };
        if let Some(span) = asks(own.get(WORKSPACE)) {
            own.remove(WORKSPACE);
            places.push(span.clone());
            let Some(of_root) = of_root else {
                report(format!("[workspace.{section}]"), span);
                continue;
            };
            for (key, value) in of_root {
                if !own.contains_key(key.get_ref().as_ref()) {
                    let value = moved(key.get_ref(), value.get_ref(), &span, up, &name);
                    own.insert(spanned(key.get_ref(), &span), Spanned::new(span.clone(), value));
                }
            }
        }
        for (key, value) in own.iter_mut() {
            let DeValue::Table(inner) = value.get_ref() else {
                continue;
            };
            let Some(span) = asks(inner.get(WORKSPACE)).filter(|_| inner.len() == 1) else {
                continue;
            };
            let key: &str = key.get_ref();
            places.push(span.clone());
            match of_root.and_then(|of_root| of_root.get(key)) {
                Some(of_root) => {
                    *value = Spanned::new(span.clone(), moved(key, of_root.get_ref(), &span, up, &name));
                }
                None => report(format!("`{key}` in [workspace.{section}]"), span),
            }
        }
    }
    is_whole.then_some(places)
}

/// The findings, of which those at one of `places` are about an inherited value, and say so.
pub(crate) fn explained(findings: Vec<Finding>, places: &[Range<usize>]) -> Vec<Finding> {
    let is_inherited = |finding: &Finding| places.contains(&finding.span);
    let explain = |finding: Finding| match finding.label {
        None if is_inherited(&finding) => finding.with_label("inherited from the workspace"),
        _ => finding,
    };
    findings.into_iter().map(explain).collect()
}

fn text_of(table: &DeTable<'_>, section: &str, key: &str) -> Option<String> {
    match table.get(section)?.get_ref() {
        DeValue::Table(table) => match table.get(key)?.get_ref() {
            DeValue::String(text) => Some(text.to_string()),
            _ => None,
        },
        _ => None,
    }
}

/// Where `workspace = true` stands, if it does.
fn asks(value: Option<&Spanned<DeValue<'_>>>) -> Option<Range<usize>> {
    let value = value?;
    matches!(value.get_ref(), DeValue::Boolean(true)).then(|| value.span())
}

fn absent(what: &str, span: Range<usize>) -> Finding {
    Finding::new(format!("the workspace has no {what}"), span)
        .with_hint("the cairn.toml of the workspace's root says what its members can inherit")
}

fn spanned<'t>(text: &Cow<'t, str>, span: &Range<usize>) -> Spanned<Cow<'t, str>> {
    Spanned::new(span.clone(), text.clone())
}

/// A value of the root as the member has it: standing where it was asked for, paths from the member's directory, and `{name}`
/// as the member's name.
fn moved<'t>(key: &str, value: &DeValue<'t>, span: &Range<usize>, up: &str, name: &str) -> DeValue<'t> {
    let below = |value: &DeValue<'t>| Spanned::new(span.clone(), moved("", value, span, up, name));
    match value {
        DeValue::String(text) => DeValue::String(Cow::Owned(match key {
            "repository" => text.replace("{name}", name),
            key if PATHS.contains(&key) => format!("{up}{text}"),
            _ => text.to_string(),
        })),
        DeValue::Array(list) => DeValue::Array(list.iter().map(|value| below(value.get_ref())).collect()),
        DeValue::Table(table) => {
            let members = table.iter();
            let members = members.map(|(key, value)| (spanned(key.get_ref(), span), below(value.get_ref())));
            DeValue::Table(members.collect())
        }
        other => other.clone(),
    }
}
