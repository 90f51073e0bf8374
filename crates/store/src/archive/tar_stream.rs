//! A tar archive as a stream, its members one after the other.
//!
//! ustar, and a PAX header only where a size does not fit into it. Owner 0:0 without names, mode 0644 and 0755, one
//! modification time: 1, because 0 upsets tools.

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use tar::{EntryType, Header};

use crate::stream::{ByteStream, from_bytes};

const BLOCK: u64 = 512;
/// Eleven octal digits.
const MAX_SIZE: u64 = 0o777_7777_7777;

pub(super) fn directory(name: &str) -> ByteStream {
    from_bytes(header(EntryType::Directory, name, 0o755, 0).as_bytes().to_vec())
}

/// A file whose content has exactly `size` bytes. The name must have at most 100.
pub(super) fn file(name: &str, size: u64, content: ByteStream) -> ByteStream {
    let mut head = Vec::new();
    if size > MAX_SIZE {
        let record = size_record(size);
        head.extend_from_slice(
            header(EntryType::XHeader, "././@PaxHeader", 0o644, record.len() as u64).as_bytes(),
        );
        head.extend_from_slice(record.as_bytes());
        head.resize(head.len().next_multiple_of(BLOCK as usize), 0);
    }
    let stated = if size > MAX_SIZE { 0 } else { size };
    head.extend_from_slice(header(EntryType::Regular, name, 0o644, stated).as_bytes());
    let filling = (size.next_multiple_of(BLOCK) - size) as usize;
    Box::pin(
        from_bytes(head)
            .chain(content)
            .chain(from_bytes(vec![0; filling])),
    )
}

/// The two zero blocks.
pub(super) fn end() -> ByteStream {
    from_bytes(Bytes::from_static(&[0; 2 * BLOCK as usize]))
}

/// Bytes of a file of `size` bytes in the archive.
pub(super) const fn room(size: u64) -> u64 {
    let extension = if size > MAX_SIZE { 2 * BLOCK } else { 0 };
    extension + BLOCK + size.next_multiple_of(BLOCK)
}

fn header(kind: EntryType, name: &str, mode: u32, size: u64) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(size);
    header.set_mtime(1);
    if let Some(fields) = header.as_ustar_mut() {
        let count = name.len().min(fields.name.len());
        fields.name[..count].copy_from_slice(&name.as_bytes()[..count]);
        fields.set_device_major(0);
        fields.set_device_minor(0);
    }
    header.set_cksum();
    header
}

/// `LENGTH size=SIZE\n`, where the length counts itself.
fn size_record(size: u64) -> String {
    let rest = format!(" size={size}\n");
    let mut length = rest.len() + 2;
    if length.to_string().len() + rest.len() != length {
        length += 1;
    }
    format!("{length}{rest}")
}

/// One stream after the other.
pub(super) fn concatenated(parts: Vec<ByteStream>) -> ByteStream {
    Box::pin(stream::iter(parts.into_iter().map(Ok::<_, std::io::Error>)).try_flatten())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_of_a_size_counts_itself() {
        for size in [MAX_SIZE + 1, 10_000_000_000, u64::MAX >> 1] {
            let record = size_record(size);
            let (length, rest) = record.split_once(' ').unwrap();
            assert_eq!(length.parse::<usize>().unwrap(), record.len());
            assert_eq!(rest, format!("size={size}\n"));
        }
    }

    #[tokio::test]
    async fn b5_a_file_of_more_than_8_gib_is_found_again_with_its_size() {
        use std::io::Write;

        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("large.tar");
        let size = MAX_SIZE + 5;
        let head = file("blobs/sha256/0", size, Box::pin(stream::empty()));
        let head = crate::stream::collect(head, 1 << 20).await.unwrap();
        // The last bytes fill the last block.
        let head = &head[..head.len() - (size.next_multiple_of(BLOCK) - size) as usize];
        let mut sparse = tempfile::NamedTempFile::new_in(place.path()).unwrap();
        sparse.write_all(head).unwrap();
        let length = head.len() as u64 + size.next_multiple_of(BLOCK);
        sparse.as_file().set_len(length + 2 * BLOCK).unwrap();
        assert_eq!(length, room(size));
        let members = super::super::member::scan(sparse.as_file(), &path).unwrap();
        let span = members.file("blobs/sha256/0").unwrap();
        assert_eq!((span.offset, span.size), (head.len() as u64, size));
    }
}
