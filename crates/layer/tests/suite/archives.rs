//! Archives for the tests of unpacking: zips that no tool would write, and trees as text.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::sync::Arc;

use cairn_layer::{Limits, Node, Source, Spool, Tree, UnpackError, UnpackOptions, unpack};
use flate2::write::DeflateEncoder;

/// Unpacks `archive` as it would come from a disk.
pub(crate) fn unpack_with(
    archive: &[u8],
    options: &UnpackOptions,
    limits: &Limits,
) -> Result<Tree, UnpackError> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(archive).unwrap();
    let spool = tempfile::NamedTempFile::new().unwrap();
    let again = Arc::new(File::open(spool.path()).unwrap());
    let mut out = spool.as_file();
    unpack(&file, options, limits, Spool::new(&mut out, again))
}

/// One line for each node, with the content of files.
pub(crate) fn lines(tree: &Tree) -> Vec<String> {
    let line = |(path, node): (_, &Node)| match node {
        Node::Directory(attributes) => {
            format!(
                "{path}/ {:04o} {}:{}",
                attributes.mode, attributes.uid, attributes.gid
            )
        }
        Node::File {
            attributes,
            source: Source::Spooled(content),
        } => {
            let mut text = String::new();
            content.reader().read_to_string(&mut text).unwrap();
            assert_eq!(content.digest(), cairn_oci::Digest::of(text.as_bytes()));
            let owner = (attributes.uid, attributes.gid);
            format!("{path} {:04o} {}:{} {text:?}", attributes.mode, owner.0, owner.1)
        }
        Node::Symlink { target, .. } => format!("{path} -> {}", String::from_utf8_lossy(target)),
        Node::Hardlink { to } => format!("{path} = {to}"),
        other => panic!("{path} is {other:?}"),
    };
    tree.iter().map(line).collect()
}

/// A zip archive, built without asking whether it makes sense.
#[derive(Default)]
pub(crate) struct RawZip {
    bytes: Vec<u8>,
    directory: Vec<u8>,
    entries: u16,
}

/// What the two headers of an entry say.
#[derive(Clone)]
pub(crate) struct Headers {
    pub(crate) name: Vec<u8>,
    pub(crate) flags: u16,
    pub(crate) method: u16,
    pub(crate) checksum: u32,
    pub(crate) compressed: u32,
    pub(crate) size: u32,
    /// In the directory only: 3 is Unix.
    pub(crate) system: u8,
    /// In the directory only.
    pub(crate) attributes: u32,
    /// In the directory only.
    pub(crate) at: u32,
}

impl RawZip {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// A deflated file of Unix with this mode, file type included.
    pub(crate) fn entry(self, name: &str, mode: u32, content: &[u8]) -> Self {
        self.entry_with(name, mode, content, |_, _| {})
    }

    /// An entry of which `change` changes what stands before it and what stands in the directory.
    pub(crate) fn entry_with(
        mut self,
        name: &str,
        mode: u32,
        content: &[u8],
        change: impl FnOnce(&mut Headers, &mut Headers),
    ) -> Self {
        let mut encoder = DeflateEncoder::new(Vec::new(), flate2::Compression::new(6));
        encoder.write_all(content).unwrap();
        let (method, data) = if content.is_empty() {
            (0, Vec::new())
        } else {
            (8, encoder.finish().unwrap())
        };
        let mut crc = flate2::Crc::new();
        crc.update(content);
        let mut local = Headers {
            name: name.as_bytes().to_vec(),
            flags: 0,
            method,
            checksum: crc.sum(),
            compressed: data.len() as u32,
            size: content.len() as u32,
            system: 3,
            attributes: mode << 16,
            at: self.bytes.len() as u32,
        };
        let mut listed = local.clone();
        change(&mut local, &mut listed);
        self.local(&local, &data);
        self.listed(&listed)
    }

    fn local(&mut self, entry: &Headers, data: &[u8]) {
        self.bytes.extend(*b"PK\x03\x04\x14\x00");
        self.bytes.extend(fields(entry));
        self.bytes.extend([0, 0]);
        self.bytes.extend(&entry.name);
        self.bytes.extend(data);
    }

    /// An entry of the directory that need not have a file.
    pub(crate) fn listed(mut self, entry: &Headers) -> Self {
        self.directory.extend(*b"PK\x01\x02\x14");
        self.directory.push(entry.system);
        self.directory.extend([0x14, 0]);
        self.directory.extend(fields(entry));
        self.directory.extend([0; 8]);
        self.directory.extend(entry.attributes.to_le_bytes());
        self.directory.extend(entry.at.to_le_bytes());
        self.directory.extend(&entry.name);
        self.entries += 1;
        self
    }

    pub(crate) fn end(self) -> Vec<u8> {
        self.end_with(|_| {})
    }

    /// The archive, of whose end `change` changes the bytes.
    pub(crate) fn end_with(mut self, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut end = b"PK\x05\x06\0\0\0\0".to_vec();
        end.extend(self.entries.to_le_bytes());
        end.extend(self.entries.to_le_bytes());
        end.extend((self.directory.len() as u32).to_le_bytes());
        end.extend((self.bytes.len() as u32).to_le_bytes());
        end.extend([0, 0]);
        change(&mut end);
        self.bytes.extend(self.directory);
        self.bytes.extend(end);
        self.bytes
    }
}

/// From the flags to the length of the name: the same in both headers. The time is that of nobody.
fn fields(entry: &Headers) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(entry.flags.to_le_bytes());
    bytes.extend(entry.method.to_le_bytes());
    bytes.extend([0x12, 0x34, 0x56, 0x78]);
    bytes.extend(entry.checksum.to_le_bytes());
    bytes.extend(entry.compressed.to_le_bytes());
    bytes.extend(entry.size.to_le_bytes());
    bytes.extend((entry.name.len() as u16).to_le_bytes());
    bytes
}
