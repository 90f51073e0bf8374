//! The headers that Cairn writes: ustar, with a PAX header before it where ustar cannot say it.
//!
//! The rules are in the crate's README. The `tar` crate gives the block its fields; which value goes where, and when a
//! PAX record is needed, is decided here, because its builder and its header modes decide otherwise.

use std::collections::BTreeMap;

use tar::{EntryType, Header};

use crate::pax;

/// Size of a block of a tar archive.
pub(crate) const BLOCK: usize = 512;

/// The name of every PAX header.
const PAX_NAME: &[u8] = b"././@PaxHeader";
/// The mode of every PAX header.
const PAX_MODE: u32 = 0o644;

const NAME: usize = 100;
const PREFIX: usize = 155;
/// Eleven octal digits: sizes and times.
const MAX_ELEVEN_DIGITS: u64 = 0o777_7777_7777;
/// Seven octal digits: owners and groups.
const MAX_SEVEN_DIGITS: u64 = 0o777_7777;

/// The latest time that a header can say, in the year 2242.
pub(crate) const MAX_MTIME: u64 = MAX_ELEVEN_DIGITS;

/// Everything that the header of one member says.
pub(crate) struct Member<'a> {
    /// The path; a directory's without its slash.
    pub(crate) path: &'a [u8],
    pub(crate) kind: EntryType,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) size: u64,
    /// At most [`MAX_MTIME`].
    pub(crate) mtime: u64,
    /// The target of a link, else empty.
    pub(crate) link: &'a [u8],
    pub(crate) xattrs: Option<&'a BTreeMap<Vec<u8>, Vec<u8>>>,
}

impl Member<'_> {
    /// The member's header, with its PAX header before it if it needs one.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let name = self.name();
        let records = self.records(&name);
        let mut bytes = Vec::with_capacity(BLOCK);
        if !records.is_empty() {
            encode_pax(&records, self.mtime, &mut bytes);
        }
        bytes.extend_from_slice(self.ustar(&name).as_bytes());
        bytes
    }

    fn name(&self) -> Vec<u8> {
        let slash: &[u8] = if self.kind.is_dir() { b"/" } else { b"" };
        [self.path, slash].concat()
    }

    fn records(&self, name: &[u8]) -> pax::Records {
        let mut records = pax::Records::new();
        let mut record = |key: &[u8], value: Vec<u8>| records.insert(key.to_vec(), value);
        if split(name).is_none() || !is_utf8(name) {
            record(b"path", name.to_vec());
        }
        if self.link.len() > NAME || !is_utf8(self.link) {
            record(b"linkpath", self.link.to_vec());
        }
        if !is_utf8(name) || !is_utf8(self.link) {
            record(b"hdrcharset", b"BINARY".to_vec());
        }
        for (key, value, most) in [
            (&b"uid"[..], u64::from(self.uid), MAX_SEVEN_DIGITS),
            (b"gid", u64::from(self.gid), MAX_SEVEN_DIGITS),
            (b"size", self.size, MAX_ELEVEN_DIGITS),
        ] {
            if value > most {
                record(key, value.to_string().into_bytes());
            }
        }
        for (name, value) in self.xattrs.into_iter().flatten() {
            record(&[pax::XATTR, name].concat(), value.clone());
        }
        records
    }

    fn ustar(&self, name: &[u8]) -> Header {
        let (prefix, name) = split(name).unwrap_or((b"", name));
        let mut header = empty_header(self.kind, self.mode, self.mtime);
        header.set_size(fitting(self.size, MAX_ELEVEN_DIGITS));
        header.set_uid(fitting(u64::from(self.uid), MAX_SEVEN_DIGITS));
        header.set_gid(fitting(u64::from(self.gid), MAX_SEVEN_DIGITS));
        if let Some(fields) = header.as_ustar_mut() {
            fill(&mut fields.name, name);
            fill(&mut fields.prefix, prefix);
            fill(&mut fields.linkname, self.link);
        }
        set_checksum(&mut header);
        header
    }
}

/// A number that does not fit stands in its PAX record, and the field is zero.
const fn fitting(value: u64, most: u64) -> u64 {
    if value > most { 0 } else { value }
}

fn is_utf8(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok()
}

/// Divides a name at the last slash that leaves at most 155 bytes before it, so that 1 to 100 come after it; none if
/// there is no such slash. A name of at most 100 bytes is not divided.
fn split(name: &[u8]) -> Option<(&[u8], &[u8])> {
    if name.len() <= NAME {
        return Some((b"", name));
    }
    // The slash that ends a directory's name divides nothing.
    let last = (name.len() - 2).min(PREFIX);
    let slash = name[..=last].iter().rposition(|byte| *byte == b'/')?;
    let (prefix, rest) = (&name[..slash], &name[slash + 1..]);
    (!prefix.is_empty() && rest.len() <= NAME).then_some((prefix, rest))
}

fn empty_header(kind: EntryType, mode: u32, mtime: u64) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(0);
    header.set_mtime(mtime);
    if let Some(fields) = header.as_ustar_mut() {
        fields.set_device_major(0);
        fields.set_device_minor(0);
    }
    header
}

fn fill(field: &mut [u8], value: &[u8]) {
    let count = value.len().min(field.len());
    field[..count].copy_from_slice(&value[..count]);
}

/// Six octal digits, a NUL and a space, as every tar since the seventh edition writes it.
fn set_checksum(header: &mut Header) {
    header.as_old_mut().cksum = [b' '; 8];
    let sum: u32 = header.as_bytes().iter().copied().map(u32::from).sum();
    header.as_old_mut().cksum[..7].copy_from_slice(format!("{sum:06o}\0").as_bytes());
}

fn encode_pax(records: &pax::Records, mtime: u64, bytes: &mut Vec<u8>) {
    let content = pax::format(records);
    let mut header = empty_header(EntryType::XHeader, PAX_MODE, mtime);
    header.set_size(content.len() as u64);
    fill(&mut header.as_old_mut().name, PAX_NAME);
    set_checksum(&mut header);
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend_from_slice(&content);
    bytes.resize(bytes.len() + padding(content.len() as u64), 0);
}

/// How many zero bytes fill the last block of `size` bytes.
pub(crate) const fn padding(size: u64) -> usize {
    // The remainder is less than 512.
    (BLOCK - (size % BLOCK as u64) as usize) % BLOCK
}

#[cfg(test)]
#[path = "header_tests.rs"]
mod tests;
