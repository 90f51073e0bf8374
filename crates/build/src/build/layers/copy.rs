//! What a `copy` of the spec puts into a layer's tree.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use cairn_layer::{
    Attributes, Context, GlobError, GlobFilter, LocalEntries, LocalEntry, LocalError, LocalKind, Node,
    Selection, Source, TreePath, Verdict,
};

use super::LayerPlanner;
use crate::build::{ignore, secrets};
use crate::document::{chain, nearest};
use crate::finding::{Finding, Located};
use crate::spec::{Copy, Destination, split_glob};

/// How many names a finding lists.
const NAMES_SHOWN: usize = 8;

impl LayerPlanner<'_> {
    pub(super) fn copy(&mut self, copy: &Copy) -> Result<(), Finding> {
        let from = copy.from.value.expand(self.platform);
        let owner = self.owner(copy.owner.as_ref())?;
        let (from, entries) = self.found(copy, from)?;
        self.check_secrets(copy, &from, &entries)?;
        // What a glob takes comes without the directory that it starts from.
        let start_is_directory = entries
            .iter()
            .next()
            .is_some_and(|entry| entry.path.is_some() || matches!(entry.kind, LocalKind::Directory));
        let target = target(&copy.to, &from, start_is_directory)?;
        check_capabilities(copy, &entries)?;
        let given = Given {
            mode: copy.mode,
            directory_mode: copy.directory_mode,
            owner,
            xattrs: copy.extended.to_xattrs(),
        };
        self.tree.reserve(entries.len());
        for entry in entries {
            let Some(path) = target.path_of(entry.path, &copy.to)? else {
                continue;
            };
            let node = self.copied_node(entry.kind, &path, &given);
            self.put(path, node, &copy.to.span)?;
        }
        Ok(())
    }

    /// What a copy copies, and the path to which it is relative.
    fn found(&self, copy: &Copy, from: String) -> Result<(String, LocalEntries), Finding> {
        let span = || copy.from.span.clone();
        let wrong = |error: GlobError| Finding::new(chain(&error), span());
        let filter = GlobFilter::new(&copy.exclude).map_err(wrong)?;
        let Some((directory, glob)) = split_glob(&from) else {
            self.check_ignored(copy, &from)?;
            let filter = filter.ignoring(Arc::clone(self.ignored), start_of(&from).as_ref());
            let entries = self.context.walk(&from, &filter);
            let entries = entries.map_err(|error| self.local_finding(&from, &error, span()))?;
            return Ok((from, entries));
        };
        let start = format!("{}/", if directory.is_empty() { "." } else { directory });
        self.check_ignored(copy, &start)?;
        let selection = Selection::new(glob).map_err(wrong)?;
        let filter = filter.ignoring(Arc::clone(self.ignored), start_of(&start).as_ref());
        let entries = self.context.walk(&start, &filter.selecting(selection.clone()));
        let mut entries = entries.map_err(|error| self.local_finding(&start, &error, span()))?;
        entries.retain(|entry| {
            let path = entry.path.as_ref();
            path.is_some_and(|path| selection.verdict(path) == Verdict::Selected)
        });
        if entries.is_empty() {
            let layer = &self.layer.name.value;
            let finding = Finding::new(
                format!("layer `{layer}` copies {from}, and nothing matches"),
                span(),
            );
            let finding = match nearest_names(self.context, &from) {
                Some(label) => finding.with_label(label),
                None => finding,
            };
            return Err(finding.with_hint(format!(
                "`*` stays within one name, and `**` crosses directories; `exclude` and {} may have left everything out",
                ignore::NAME
            )));
        }
        Ok((start, entries))
    }

    /// What the spec names itself is not left out in silence.
    fn check_ignored(&self, copy: &Copy, from: &str) -> Result<(), Finding> {
        let Some(start) = start_of(from) else {
            return Ok(());
        };
        let is_directory = matches!(self.context.kind(from), Ok(LocalKind::Directory));
        match self.ignored.line_on_the_way(start.as_bytes(), is_directory) {
            None => Ok(()),
            Some(line) => {
                let name = ignore::NAME;
                let message = format!(
                    "layer `{}` copies {from}, which {name} ignores",
                    self.layer.name.value
                );
                let hint =
                    format!("see line {line} of {name}; a later line that begins with `!` takes it back");
                Err(Finding::new(message, copy.from.span.clone()).with_hint(hint))
            }
        }
    }

    fn check_secrets(&self, copy: &Copy, from: &str, entries: &LocalEntries) -> Result<(), Finding> {
        let span = copy.from.span.clone();
        let allowed = GlobFilter::new(&copy.allow_secrets);
        let allowed = allowed.map_err(|error| Finding::new(chain(&error), span.clone()))?;
        let found = secrets::find(start_of(from).as_ref(), entries, &allowed);
        let found = found.map_err(|error| self.local_finding(from, &error, span.clone()))?;
        if found.is_empty() {
            return Ok(());
        }
        let shown = found.iter().take(NAMES_SHOWN).map(|secret| {
            let path = secret.path.to_string();
            format!("{} ({})", path.trim_start_matches('/'), secret.what)
        });
        let shown: Vec<_> = shown.collect();
        let more = match found.len() - shown.len() {
            0 => String::new(),
            more => format!(", and {more} more"),
        };
        let message = format!(
            "layer `{}` copies what looks like a secret: {}{more}",
            self.layer.name.value,
            shown.join(", ")
        );
        Err(Finding::new(message, span).with_hint(format!(
            "leave it out with `exclude` or in {}; what does belong into the image is named in `allow-secrets`",
            ignore::NAME
        )))
    }

    fn copied_node(&self, kind: LocalKind, path: &TreePath, given: &Given) -> Node {
        let (uid, gid) = given.owner.unwrap_or_default();
        match kind {
            LocalKind::Directory => {
                let below = self.lower.directories.get(path).cloned();
                let below = below.unwrap_or_else(Attributes::directory);
                let (uid, gid) = given.owner.unwrap_or((below.uid, below.gid));
                let mode = given.directory_mode.unwrap_or(below.mode);
                Node::Directory(Attributes {
                    mode,
                    uid,
                    gid,
                    ..below
                })
            }
            LocalKind::File { file, executable } => Node::File {
                attributes: Attributes {
                    mode: given.mode.unwrap_or(Attributes::file(executable).mode),
                    uid,
                    gid,
                    xattrs: given.xattrs.clone(),
                },
                source: Source::Local(file),
            },
            LocalKind::Symlink { target } => Node::Symlink { target, uid, gid },
        }
    }

    fn local_finding(&self, from: &str, error: &LocalError, span: Range<usize>) -> Finding {
        let layer = &self.layer.name.value;
        if !matches!(error, LocalError::Missing { .. }) {
            return Finding::new(
                format!("layer `{layer}` cannot copy {from}: {}", chain(error)),
                span,
            );
        }
        let finding = Finding::new(
            format!("layer `{layer}` copies {from}, which does not exist"),
            span,
        );
        match nearest_names(self.context, from) {
            Some(label) => finding.with_label(label),
            None => finding,
        }
    }
}

/// The path of `from` without `.` and slashes at its end; none for the spec's directory itself.
fn start_of(from: &str) -> Option<TreePath> {
    let names = from.split('/').filter(|name| !matches!(*name, "" | "."));
    TreePath::new(names.collect::<Vec<_>>().join("/")).ok()
}

/// What the spec says of the attributes of all that one copy brings.
struct Given {
    mode: Option<u32>,
    directory_mode: Option<u32>,
    owner: Option<(u32, u32)>,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// Capabilities are for one program: on everything of a directory they are a mistake.
fn check_capabilities(copy: &Copy, entries: &LocalEntries) -> Result<(), Finding> {
    let Some(capabilities) = &copy.extended.capabilities else {
        return Ok(());
    };
    let mut entries = entries.iter();
    match (entries.next(), entries.next()) {
        (
            Some(LocalEntry {
                kind: LocalKind::File { .. },
                ..
            }),
            None,
        ) => Ok(()),
        _ => Err(
            Finding::new("`capabilities` are for one file", capabilities.span.clone())
                .with_hint("copy the program by itself, before or after the rest, and exclude it there"),
        ),
    }
}

/// What there is in the nearest directory above `from` that has anything.
fn nearest_names(context: &Context, from: &str) -> Option<String> {
    let mut directory = from.trim_end_matches('/');
    loop {
        directory = directory.rsplit_once('/').map_or("", |(parent, _)| parent);
        let names = context.names(if directory.is_empty() { "." } else { directory });
        if names.is_empty() && !directory.is_empty() {
            continue;
        }
        let place = if directory.is_empty() {
            "the spec's directory"
        } else {
            directory
        };
        let missing = from[directory.len()..].trim_matches('/');
        let missing = missing.split('/').next().unwrap_or_default();
        let known: Vec<&str> = names.iter().map(String::as_str).collect();
        if let Some(name) = nearest(missing, &known) {
            let slash = if directory.is_empty() { "" } else { "/" };
            return Some(format!("did you mean `{directory}{slash}{name}`?"));
        }
        let more = if names.len() > NAMES_SHOWN { ", …" } else { "" };
        let shown = &names[..names.len().min(NAMES_SHOWN)];
        return (!names.is_empty()).then(|| format!("{place} has: {}{more}", shown.join(", ")));
    }
}

/// Where the entries of a copy go.
enum Target {
    /// The start of the walk is this path.
    Itself(TreePath),
    /// What is in the start of the walk goes here; none: into the root.
    Content(Option<TreePath>),
}

/// See the table of the module [`crate::spec`].
fn target(to: &Located<Destination>, from: &str, is_directory: bool) -> Result<Target, Finding> {
    if is_directory && from.ends_with('/') {
        return Ok(Target::Content(match &to.value {
            Destination::Exactly(path) => Some(path.clone()),
            Destination::Into(directory) => directory.clone(),
        }));
    }
    let directory = match &to.value {
        Destination::Exactly(path) => return Ok(Target::Itself(path.clone())),
        Destination::Into(directory) => directory,
    };
    let name = from.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let name = TreePath::new(name).map_err(|_| {
        let finding = Finding::new(
            format!("`{from}` has no name of its own to go by"),
            to.span.clone(),
        );
        finding.with_hint("end `from` with a slash to copy what is in it")
    })?;
    let path = match directory {
        Some(directory) => directory.join(&name),
        None => Ok(name),
    };
    path.map(Target::Itself)
        .map_err(|error| Finding::new(chain(&error), to.span.clone()))
}

impl Target {
    /// The path of an entry; none for the start of the walk if only its content is copied.
    fn path_of(
        &self,
        below: Option<TreePath>,
        to: &Located<Destination>,
    ) -> Result<Option<TreePath>, Finding> {
        let joined = match (self, below) {
            (Self::Itself(path), None) => Ok(path.clone()),
            (Self::Itself(path) | Self::Content(Some(path)), Some(below)) => path.join(&below),
            (Self::Content(None), Some(below)) => Ok(below),
            (Self::Content(_), None) => return Ok(None),
        };
        joined
            .map(Some)
            .map_err(|error| Finding::new(chain(&error), to.span.clone()))
    }
}
