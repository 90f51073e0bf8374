//! What several tests need: trees in one line, layers in one call, and archives that no tool would write.

use std::sync::Arc;

use cairn_layer::{
    Attributes, Compression, Entry, LayerOptions, Limits, Node, ReadError, Source, Tree, TreePath,
    WrittenLayer, archive_length, hash_archive, read_layer, write_layer,
};
use tar::{EntryType, Header};

pub(crate) fn path(text: &str) -> TreePath {
    TreePath::new(text).unwrap()
}

pub(crate) fn file(content: &[u8]) -> Node {
    Node::File {
        attributes: Attributes::file(false),
        source: Source::Bytes(Arc::from(content)),
    }
}

pub(crate) fn directory() -> Node {
    Node::Directory(Attributes::directory())
}

pub(crate) fn symlink(target: &[u8]) -> Node {
    Node::Symlink {
        target: target.to_vec(),
        uid: 0,
        gid: 0,
    }
}

pub(crate) fn tree<P: AsRef<[u8]>>(nodes: impl IntoIterator<Item = (P, Node)>) -> Tree {
    let mut tree = Tree::new();
    for (path, node) in nodes {
        tree.insert(TreePath::new(path).unwrap(), node).unwrap();
    }
    tree
}

/// The layer's bytes, and what was said of them, which must be what is known without compressing.
pub(crate) fn write(tree: &Tree, compression: Compression) -> (Vec<u8>, WrittenLayer) {
    let mut bytes = Vec::new();
    let options = LayerOptions {
        compression,
        ..LayerOptions::default()
    };
    let written = write_layer(tree, &options, &mut bytes).unwrap();
    assert_eq!(archive_length(tree, &options).unwrap(), written.uncompressed_size);
    let hashed = hash_archive(tree, &options).unwrap();
    assert_eq!(
        (hashed.diff_id, hashed.uncompressed_size),
        (written.diff_id, written.uncompressed_size)
    );
    (bytes, written)
}

/// All entries of a layer, with the content of files.
pub(crate) fn read(layer: &[u8]) -> Result<Vec<(Entry, Vec<u8>)>, ReadError> {
    let mut entries = Vec::new();
    read_layer(layer, &Limits::default(), &mut |entry, content| {
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes)?;
        entries.push((entry.clone(), bytes));
        Ok(())
    })?;
    Ok(entries)
}

/// The message of an error with all its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// A tar archive of raw members, built without asking whether it makes sense.
#[derive(Clone, Default)]
pub(crate) struct RawTar(pub(crate) Vec<u8>);

impl RawTar {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// A member with a sound header.
    pub(crate) fn member(self, kind: EntryType, name: &str, link: &str, content: &[u8]) -> Self {
        self.member_with(kind, name, link, content, |_| {})
    }

    /// A member whose header `change` has changed before its checksum was made.
    pub(crate) fn member_with(
        mut self,
        kind: EntryType,
        name: &str,
        link: &str,
        content: &[u8],
        change: impl FnOnce(&mut Header),
    ) -> Self {
        let mut header = Header::new_ustar();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(content.len() as u64);
        change(&mut header);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn file(self, name: &str, content: &[u8]) -> Self {
        self.member(EntryType::Regular, name, "", content)
    }

    /// A PAX header for the next member.
    pub(crate) fn pax(self, records: &[(&str, &str)]) -> Self {
        let content: String = records.iter().map(|(key, value)| record(key, value)).collect();
        self.member(EntryType::XHeader, "PaxHeader", "", content.as_bytes())
    }

    /// The archive with its end marker.
    pub(crate) fn end(mut self) -> Vec<u8> {
        self.0.extend([0; 1024]);
        self.0
    }

    /// What reading it gives.
    pub(crate) fn read(self) -> Result<Vec<(Entry, Vec<u8>)>, ReadError> {
        read(&self.end())
    }
}

/// One PAX record, found by trying lengths.
fn record(key: &str, value: &str) -> String {
    let length = |digits: usize| digits + key.len() + value.len() + 3;
    let digits = (1..9)
        .find(|digits| length(*digits).to_string().len() == *digits)
        .unwrap();
    format!("{} {key}={value}\n", length(digits))
}
