//! One layer of the spec becomes a tree, and a tree becomes a blob.

mod copy;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use cairn_layer::{
    Attributes, Compression, Context, Engine, IgnoreRules, LayerOptions, Listing, Node, Source, Tree,
    TreeError, TreePath, WriteError, WrittenLayer,
};
use cairn_oci::{Descriptor, Platform};
use cairn_store::Written;
use cairn_store::files::{self, FileError, TemporaryFile};
use cairn_store::transfer::Transferred;

use super::accounts::Accounts;
use super::fetch::{Content, Fetched};
use super::plan::PlannedLayer;
use super::{Build, BuildError, BuiltLayer};
use crate::blocking::run;
use crate::finding::{Finding, Located};
use crate::spec::{Directory, Fetch, Layer, Owner, Write};

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
            let linked = self.tree.hardlink(&path, &to);
            linked.map_err(|error| self.tree_finding(&error, &self.layer.name.span))?;
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
}

/// Whether a file gives rights to whoever runs it.
fn hands_out_rights(attributes: &Attributes) -> bool {
    attributes.mode & 0o6000 != 0 || attributes.xattrs.contains_key(&b"security.capability"[..])
}

/// Why a layer did not get into its scratch file.
enum SpoolError {
    Scratch(FileError),
    Layer(WriteError),
}

impl Build<'_> {
    /// What the bytes of a layer depend on besides its tree, if it is compressed so.
    pub(super) fn options(&self, compression: Compression) -> LayerOptions {
        LayerOptions {
            mtime: self.request.spec.layer_mtime(),
            compression,
        }
    }

    /// What the bytes of a layer depend on besides its tree.
    pub(super) fn layer_options<B>(&self, layer: &PlannedLayer<B>) -> LayerOptions {
        self.options(layer.compression)
    }

    /// Writes a layer to a scratch file and, unless the output has it, from there to the output.
    pub(super) async fn write_own_layer(
        &self,
        layer: PlannedLayer<Tree>,
        transferred: &mut Transferred,
    ) -> Result<(Descriptor, BuiltLayer), BuildError> {
        let options = self.layer_options(&layer);
        let files = layer.files();
        let PlannedLayer {
            name,
            part,
            body: tree,
            ..
        } = layer;
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
            compression: options.compression,
            reused: stored == Written::Present,
            release: None,
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
