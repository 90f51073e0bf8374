//! Which files two file systems do not have in common, and in what they differ.

use std::collections::BTreeMap;

use cairn_layer::TreePath;

use super::stack::{Kind, Stack, State};

/// Everything that tells two file systems apart, each in the order of the paths.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileChanges {
    /// Only in the second.
    pub added: Vec<FileChange>,
    /// Only in the first.
    pub removed: Vec<FileChange>,
    /// In both, with other attributes. Times do not count: see [`FileChanges::times`].
    pub changed: Vec<FileChange>,
    /// How many differ in their modification time and nothing else.
    pub times: u64,
    /// How many are the same.
    pub same: u64,
}

impl FileChanges {
    /// Whether there is no change but in times.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }
}

/// One path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileChange {
    /// Where.
    pub path: TreePath,
    /// What it is, or was if it is gone: `file`, `directory`, `symlink`, …
    pub kind: &'static str,
    /// Bytes of a file, or of the one that it was; 0 for everything else.
    pub size: u64,
    /// In what it differs; empty if it is only in one of them.
    pub attributes: Vec<AttributeChange>,
}

/// One attribute of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttributeChange {
    /// `type`, `content`, `size`, `mode`, `owner`, `target`, `device`, or `xattr NAME`.
    pub name: String,
    /// What it was; may contain untrusted text.
    pub before: String,
    /// What it is; may contain untrusted text.
    pub after: String,
}

/// What `after` has that `before` does not, and the other way round.
pub(super) fn compare(before: &Stack, after: &Stack) -> FileChanges {
    let mut changes = FileChanges::default();
    for (path, old) in &before.files {
        let Some(new) = after.files.get(path) else {
            changes.removed.push(change(path, old, Vec::new()));
            continue;
        };
        let attributes = attributes(old, new);
        match (attributes.is_empty(), old.mtime == new.mtime) {
            (true, true) => changes.same += 1,
            (true, false) => changes.times += 1,
            (false, _) => changes.changed.push(change(path, new, attributes)),
        }
    }
    let added = after
        .files
        .iter()
        .filter(|(path, _)| !before.files.contains_key(*path));
    changes.added = added.map(|(path, new)| change(path, new, Vec::new())).collect();
    changes
}

fn change(path: &TreePath, state: &State, attributes: Vec<AttributeChange>) -> FileChange {
    FileChange {
        path: path.clone(),
        kind: kind(&state.kind),
        size: match state.kind {
            Kind::File { size, .. } => size,
            _ => 0,
        },
        attributes,
    }
}

fn attributes(old: &State, new: &State) -> Vec<AttributeChange> {
    let mut changes = Vec::new();
    let mut note = |name: &str, before: String, after: String| {
        if before != after {
            changes.push(AttributeChange {
                name: name.to_owned(),
                before,
                after,
            });
        }
    };
    note("type", kind(&old.kind).to_owned(), kind(&new.kind).to_owned());
    match (&old.kind, &new.kind) {
        (
            Kind::File {
                size: before,
                digest: old,
            },
            Kind::File {
                size: after,
                digest: new,
            },
        ) => {
            note("size", format!("{before} bytes"), format!("{after} bytes"));
            note("content", old.to_string(), new.to_string());
        }
        (Kind::Symlink { target: before }, Kind::Symlink { target: after }) => {
            note("target", text(before), text(after));
        }
        (before, after) => note("device", device(before), device(after)),
    }
    let owner = |state: &State| format!("{}:{}", state.attributes.uid, state.attributes.gid);
    let mode = |state: &State| format!("{:04o}", state.attributes.mode);
    note("mode", mode(old), mode(new));
    note("owner", owner(old), owner(new));
    let mut xattrs: BTreeMap<&Vec<u8>, [String; 2]> = BTreeMap::new();
    for (side, state) in [old, new].into_iter().enumerate() {
        for (name, value) in &state.attributes.xattrs {
            xattrs.entry(name).or_default()[side] = hex(value);
        }
    }
    for (name, [before, after]) in xattrs {
        note(&format!("xattr {}", text(name)), before, after);
    }
    changes
}

const fn kind(kind: &Kind) -> &'static str {
    match kind {
        Kind::Directory => "directory",
        Kind::File { .. } => "file",
        Kind::Symlink { .. } => "symlink",
        Kind::CharacterDevice { .. } => "character device",
        Kind::BlockDevice { .. } => "block device",
        Kind::Fifo => "named pipe",
    }
}

fn device(kind: &Kind) -> String {
    match kind {
        Kind::CharacterDevice { major, minor } | Kind::BlockDevice { major, minor } => {
            format!("{major},{minor}")
        }
        _ => String::new(),
    }
}

fn text(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
