//! One layer of the spec becomes a tree, and a tree becomes a blob.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use cairn_layer::{
    Attributes, Context, Engine, GlobError, GlobFilter, IgnoreRules, LayerOptions, Listing, LocalEntry,
    LocalError, LocalKind, Node, Selection, Source, Tree, TreeError, TreePath, Verdict, WriteError,
    WrittenLayer,
};
use cairn_oci::{Descriptor, Platform};
use cairn_store::Written;
use cairn_store::files::{self, FileError, TemporaryFile};
use cairn_store::transfer::Transferred;

use super::accounts::Accounts;
use super::fetch::{Content, Fetched};
use super::plan::PlannedLayer;
use super::{Build, BuildError, BuiltLayer, ignore, secrets};
use crate::blocking::run;
use crate::document::chain;
use crate::finding::{Finding, Located};
use crate::spec::{Copy, Destination, Directory, Fetch, Layer, Owner, Write, split_glob};

/// How many names a finding lists.
const NAMES_SHOWN: usize = 8;

/// Puts one layer's tree together.
pub(super) struct LayerPlanner<'a> {
    layer: &'a Layer,
    platform: &'a Platform,
    context: &'a Context,
    ignored: &'a Arc<IgnoreRules>,
    accounts: &'a Accounts,
    lower: &'a Listing,
    tree: Tree,
}

impl<'a> LayerPlanner<'a> {
    pub(super) fn new(
        layer: &'a Layer,
        platform: &'a Platform,
        (context, ignored): (&'a Context, &'a Arc<IgnoreRules>),
        accounts: &'a Accounts,
        lower: &'a Listing,
    ) -> Self {
        let tree = Tree::new();
        Self {
            layer,
            platform,
            context,
            ignored,
            accounts,
            lower,
            tree,
        }
    }

    /// The tree as far as it could be made, with a finding for each part of the layer that could not.
    pub(super) fn plan(mut self, number: usize, fetched: &Fetched, findings: &mut Vec<Finding>) -> Tree {
        let layer = self.layer;
        let mut note = |result: Result<(), Finding>| findings.extend(result.err());
        layer.copies.iter().for_each(|copy| note(self.copy(copy)));
        for (at, fetch) in layer.fetches.iter().enumerate() {
            let digest = fetch.digest_for(self.platform);
            let content = digest.and_then(|digest| fetched.get((number, at), digest));
            if let Some(content) = content {
                note(self.fetch(fetch, content));
            }
        }
        layer.writes.iter().for_each(|write| note(self.write(write)));
        for link in &layer.links {
            let target = link.to.clone().into_bytes();
            let node = Node::Symlink {
                target,
                uid: 0,
                gid: 0,
            };
            note(self.put(link.from.value.clone(), node, &link.from.span));
        }
        layer
            .directories
            .iter()
            .for_each(|directory| note(self.directory(directory)));
        layer.removals.iter().for_each(|path| note(self.remove(path)));
        if layer.hardlinks {
            note(self.link_same_files());
        }
        if findings.is_empty()
            && let Err(error) = self.tree.complete_parents(self.lower)
        {
            findings.push(Finding::new(error.to_string(), layer.name.span.clone()));
        }
        self.tree
    }

    fn copy(&mut self, copy: &Copy) -> Result<(), Finding> {
        let from = copy.from.value.expand(self.platform);
        let owner = self.owner(copy.owner.as_ref())?;
        let (from, entries) = self.found(copy, from)?;
        self.check_secrets(copy, &from, &entries)?;
        // What a glob takes comes without the directory that it starts from.
        let start_is_directory = entries
            .first()
            .is_some_and(|entry| entry.path.is_some() || matches!(entry.kind, LocalKind::Directory));
        let target = target(&copy.to, &from, start_is_directory)?;
        check_capabilities(copy, &entries)?;
        let given = Given {
            mode: copy.mode,
            directory_mode: copy.directory_mode,
            owner,
            xattrs: copy.extended.to_xattrs(),
        };
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
    fn found(&self, copy: &Copy, from: String) -> Result<(String, Vec<LocalEntry>), Finding> {
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

    fn check_secrets(&self, copy: &Copy, from: &str, entries: &[LocalEntry]) -> Result<(), Finding> {
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

    /// What is not in `content` was reported when it was asked for.
    fn fetch(&mut self, fetch: &Fetch, content: &Content) -> Result<(), Finding> {
        let owner = self.owner(fetch.owner.as_ref())?;
        let span = &fetch.to.span;
        match content {
            Content::File(content) => {
                let url = fetch.url_for(self.platform);
                let path = fetch.path_for(&url).map_err(|problem| problem.at(span.clone()))?;
                let (uid, gid) = owner.unwrap_or_default();
                let attributes = Attributes {
                    mode: fetch.mode.unwrap_or(0o644),
                    uid,
                    gid,
                    ..Attributes::default()
                };
                let source = Source::Spooled(content.clone());
                self.put(path, Node::File { attributes, source }, span)
            }
            Content::Tree(tree) => {
                for (path, node) in tree.iter() {
                    let Some(node) = self.unpacked_node(fetch, path, node, owner)? else {
                        continue;
                    };
                    self.put(path.clone(), node, span)?;
                }
                Ok(())
            }
        }
    }

    /// A node of an archive with what the spec says of all; none for a directory that the layer has already.
    fn unpacked_node(
        &self,
        fetch: &Fetch,
        path: &TreePath,
        node: &Node,
        owner: Option<(u32, u32)>,
    ) -> Result<Option<Node>, Finding> {
        let owned = |attributes: &Attributes| {
            let (uid, gid) = owner.unwrap_or((attributes.uid, attributes.gid));
            Attributes {
                uid,
                gid,
                ..attributes.clone()
            }
        };
        Ok(Some(match node {
            Node::Directory(_) if matches!(self.tree.get(path), Some(Node::Directory(_))) => return Ok(None),
            Node::Directory(attributes) => {
                let below = self.lower.directories.get(path);
                Node::Directory(owned(below.unwrap_or(attributes)))
            }
            Node::File { attributes, source } => {
                let mode = fetch.mode.unwrap_or(attributes.mode);
                let attributes = Attributes {
                    mode,
                    ..owned(attributes)
                };
                if owner.is_none() && hands_out_rights(&attributes) {
                    return Err(self.rights_finding(fetch, path));
                }
                Node::File {
                    attributes,
                    source: source.clone(),
                }
            }
            Node::Symlink { target, uid, gid } => {
                let (uid, gid) = owner.unwrap_or((*uid, *gid));
                Node::Symlink {
                    target: target.clone(),
                    uid,
                    gid,
                }
            }
            other => other.clone(),
        }))
    }

    fn rights_finding(&self, fetch: &Fetch, path: &TreePath) -> Finding {
        let message = format!(
            "layer `{}`: {path} would let everybody who runs it have its owner's rights (set-user-id, set-group-id or a \
             capability)",
            self.layer.name.value
        );
        Finding::new(message, fetch.url.span.clone()).with_hint(
            "if that is meant, say whose they are: owner = \"root\"; else leave it out with `exclude`, or give `mode`",
        )
    }

    fn write(&mut self, write: &Write) -> Result<(), Finding> {
        let (uid, gid) = self.owner(write.owner.as_ref())?.unwrap_or_default();
        let attributes = Attributes {
            mode: write.mode,
            uid,
            gid,
            xattrs: write.extended.to_xattrs(),
        };
        let source = Source::Bytes(Arc::from(write.text.as_bytes()));
        self.put(
            write.to.value.clone(),
            Node::File { attributes, source },
            &write.to.span,
        )
    }

    fn directory(&mut self, directory: &Directory) -> Result<(), Finding> {
        let (uid, gid) = self.owner(directory.owner.as_ref())?.unwrap_or_default();
        let node = Node::Directory(Attributes {
            mode: directory.mode,
            uid,
            gid,
            ..Attributes::default()
        });
        let (path, span) = (&directory.to.value, &directory.to.span);
        self.check_links(path, true, "there", span)?;
        let inserted = self.tree.insert_over_directory(path.clone(), node);
        inserted.map_err(|error| self.tree_finding(&error, span))
    }

    fn remove(&mut self, path: &Located<TreePath>) -> Result<(), Finding> {
        let span = &path.span;
        self.check_links(&path.value, false, "removed", span)?;
        self.tree
            .insert(path.value.clone(), Node::Whiteout)
            .map_err(|error| match error {
                TreeError::Duplicate { path } | TreeError::NotADirectory { path, .. } => {
                    let message = format!(
                        "the layer `{}` both removes and adds {path}",
                        self.layer.name.value
                    );
                    Finding::new(message, span.clone())
                }
                other => self.tree_finding(&other, span),
            })
    }

    /// Local files that are one file on the disk, and get the same attributes, become hard links to the first of them by
    /// path; in which order they were found does not show.
    fn link_same_files(&mut self) -> Result<(), Finding> {
        let mut firsts: BTreeMap<(u64, u64), Vec<(&TreePath, &Attributes)>> = BTreeMap::new();
        let mut links = Vec::new();
        for (path, node) in self.tree.iter() {
            let Node::File {
                attributes,
                source: Source::Local(file),
            } = node
            else {
                continue;
            };
            let identity = (file.identity().device, file.identity().inode);
            let same = firsts.entry(identity).or_default();
            match same.iter().find(|(_, others)| *others == attributes) {
                Some((first, _)) => links.push((path.clone(), (*first).clone())),
                None => same.push((path, attributes)),
            }
        }
        for (path, to) in links {
            self.tree.remove(&path);
            let link = Node::Hardlink { to };
            let inserted = self.tree.insert(path, link);
            inserted.map_err(|error| self.tree_finding(&error, &self.layer.name.span))?;
        }
        Ok(())
    }

    fn put(&mut self, path: TreePath, node: Node, span: &Range<usize>) -> Result<(), Finding> {
        self.check_links(&path, matches!(node, Node::Directory(_)), "there", span)?;
        self.tree
            .insert(path, node)
            .map_err(|error| self.tree_finding(&error, span))
    }

    /// A destination below a symbolic link of a lower layer would take the link's place and hide what is behind it.
    fn check_links(
        &self,
        path: &TreePath,
        is_directory: bool,
        what: &str,
        span: &Range<usize>,
    ) -> Result<(), Finding> {
        let Some(link) = self.lower.link_on_the_way(path, is_directory) else {
            return Ok(());
        };
        let message = format!("{path} cannot be {what}: {link} is a symbolic link of a lower layer");
        let finding = Finding::new(message, span.clone());
        let resolved = if is_directory {
            self.lower.resolve(path)
        } else {
            self.lower.resolve_parent(path)
        };
        Err(match resolved {
            Ok(real) => finding.with_hint(format!("its real path is {real}")),
            Err(_) => finding,
        })
    }

    fn tree_finding(&self, error: &TreeError, span: &Range<usize>) -> Finding {
        Finding::new(
            format!("layer `{}`: {error}", self.layer.name.value),
            span.clone(),
        )
    }

    fn owner(&self, owner: Option<&Located<Owner>>) -> Result<Option<(u32, u32)>, Finding> {
        self.accounts.resolve(owner)
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
fn check_capabilities(copy: &Copy, entries: &[LocalEntry]) -> Result<(), Finding> {
    let Some(capabilities) = &copy.extended.capabilities else {
        return Ok(());
    };
    match entries {
        [
            LocalEntry {
                kind: LocalKind::File { .. },
                ..
            },
        ] => Ok(()),
        _ => Err(
            Finding::new("`capabilities` are for one file", capabilities.span.clone())
                .with_hint("copy the program by itself, before or after the rest, and exclude it there"),
        ),
    }
}

/// Whether a file gives rights to whoever runs it.
fn hands_out_rights(attributes: &Attributes) -> bool {
    attributes.mode & 0o6000 != 0 || attributes.xattrs.contains_key(&b"security.capability"[..])
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

/// Why a layer did not get into its scratch file.
enum SpoolError {
    Scratch(FileError),
    Layer(WriteError),
}

impl Build<'_> {
    /// What the bytes of a layer depend on besides its tree.
    pub(super) fn layer_options(&self, layer: &PlannedLayer) -> LayerOptions {
        LayerOptions {
            mtime: self.request.spec.layer_mtime(),
            compression: layer.compression,
        }
    }

    /// Writes a layer to a scratch file and, unless the output has it, from there to the output.
    pub(super) async fn write_own_layer(
        &self,
        layer: PlannedLayer,
        transferred: &mut Transferred,
    ) -> Result<(Descriptor, BuiltLayer), BuildError> {
        let options = self.layer_options(&layer);
        let PlannedLayer { name, part, tree, .. } = layer;
        let files = tree
            .iter()
            .filter(|(_, node)| matches!(node, Node::File { .. }))
            .count() as u64;
        let (scratch, engine) = (self.request.scratch.to_owned(), self.request.engine.clone());
        let spooled = run(move || spool(&scratch, &tree, &options, &engine)).await;
        let (written, file) = spooled.map_err(|error| match error {
            SpoolError::Scratch(source) => BuildError::Scratch {
                layer: name.clone(),
                source,
            },
            SpoolError::Layer(source) => BuildError::Layer {
                layer: name.clone(),
                source,
            },
        })?;
        let descriptor = Descriptor::new(options.compression.media_type(), written.digest, written.size);
        let stored = self.store_spooled(&written, file).await?;
        transferred.count(written.size, stored);
        let layer = BuiltLayer {
            name,
            part,
            digest: written.digest,
            size: written.size,
            diff_id: written.diff_id,
            uncompressed: written.uncompressed_size,
            files,
            reused: stored == Written::Present,
            read: true,
        };
        Ok((descriptor, layer))
    }

    /// Moves a scratch file with a layer into the output, unless it is there.
    pub(super) async fn store_spooled(
        &self,
        layer: &WrittenLayer,
        file: TemporaryFile,
    ) -> Result<Written, BuildError> {
        let written = self.output.write_spooled(&layer.digest, file).await;
        written.map_err(|source| self.write_error(layer.digest, source))
    }
}

fn spool(
    scratch: &std::path::Path,
    tree: &Tree,
    options: &LayerOptions,
    engine: &Engine,
) -> Result<(WrittenLayer, TemporaryFile), SpoolError> {
    let mut file = files::temporary(scratch).map_err(SpoolError::Scratch)?;
    let written = engine
        .write_layer(tree, options, &mut file)
        .map_err(SpoolError::Layer)?;
    Ok((written, file))
}
