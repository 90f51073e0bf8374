//! Blobs: reading, writing, mounting.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use cairn_oci::{Descriptor, Digest, media_type};
use futures_util::{StreamExt, stream};

use super::{Subject, held};
use crate::files::{self, TemporaryFile};
use crate::repository::Written;
use crate::stream::{ByteStream, from_bytes};

pub(super) async fn check(subject: &Subject) {
    what_is_not_there(subject).await;
    written_and_read(subject).await;
    ranges(subject).await;
    written_twice(subject).await;
    wrong_content_leaves_nothing(subject).await;
    written_at_once(subject).await;
    written_from_a_file(subject).await;
    mounted(subject).await;
}

async fn what_is_not_there(subject: &Subject) {
    let digest = Digest::of(b"nobody wrote this");
    assert_eq!(
        held("stat_blob", subject.repository.stat_blob(&digest).await),
        None
    );
    assert_eq!(subject.read_blob(&digest, None).await, None);
    assert_eq!(subject.read_blob(&digest, Some(0..1)).await, None);
}

async fn written_and_read(subject: &Subject) {
    let large: Vec<u8> = (0..3_000_000_u32).map(|i| (i % 251) as u8).collect();
    for content in [Vec::new(), b"x".to_vec(), large] {
        let blob = Descriptor::of(media_type::LAYER, &content);
        let pieces: Vec<io::Result<Bytes>> = content
            .chunks(70_000)
            .map(|piece| Ok(Bytes::copy_from_slice(piece)))
            .collect();
        let written = subject
            .repository
            .write_blob(&blob.digest, blob.size, Box::pin(stream::iter(pieces)))
            .await;
        assert_eq!(held("write_blob", written), Written::New, "{} bytes", blob.size);
        let size = held("stat_blob", subject.repository.stat_blob(&blob.digest).await);
        assert_eq!(size, Some(blob.size));
        let read = subject.read_blob(&blob.digest, None).await;
        assert!(
            read.as_deref() == Some(&content[..]),
            "a blob of {} bytes came back different",
            blob.size
        );
    }
}

async fn ranges(subject: &Subject) {
    let blob = subject.blob(media_type::LAYER, "0123456789").await;
    for (range, content) in [
        (0..4, "0123"),
        (3..7, "3456"),
        (9..10, "9"),
        (0..10, "0123456789"),
        (6..100, "6789"),
        (10..12, ""),
        (50..60, ""),
        (4..4, ""),
    ] {
        let read = subject.read_blob(&blob.digest, Some(range.clone())).await;
        assert_eq!(read.as_deref(), Some(content.as_bytes()), "range {range:?}");
    }
    let part = held(
        "read_blob",
        subject.repository.read_blob(&blob.digest, Some(3..7)).await,
    );
    assert_eq!(
        part.map(|part| part.size),
        Some(10),
        "the size of the whole comes with a part"
    );
}

/// A stream that counts how often it is asked.
fn counted(content: &'static [u8], asked: &Arc<AtomicUsize>) -> ByteStream {
    let asked = Arc::clone(asked);
    Box::pin(from_bytes(content).inspect(move |_| {
        asked.fetch_add(1, Ordering::SeqCst);
    }))
}

async fn written_twice(subject: &Subject) {
    let blob = subject.blob(media_type::LAYER, "twice").await;
    let asked = Arc::new(AtomicUsize::new(0));
    let again = subject
        .repository
        .write_blob(&blob.digest, blob.size, counted(b"twice", &asked))
        .await;
    assert_eq!(held("writing what is there", again), Written::Present);
    assert_eq!(
        asked.load(Ordering::SeqCst),
        0,
        "a blob that is there was read from the caller again"
    );
}

async fn wrong_content_leaves_nothing(subject: &Subject) {
    let content = b"right";
    let right = Digest::of(content);
    let broken = || -> ByteStream {
        Box::pin(stream::iter([
            Ok(Bytes::from_static(b"rig")),
            Err(io::ErrorKind::ConnectionReset.into()),
        ]))
    };
    for (what, size, stream) in [
        ("another content", 5, from_bytes(&b"wrong"[..])),
        ("too much content", 5, from_bytes(&b"right and more"[..])),
        ("too little content", 5, from_bytes(&b"rig"[..])),
        ("no content", 5, from_bytes(&b""[..])),
        ("a stated size that is too large", 6, from_bytes(&content[..])),
        ("a stated size that is too small", 4, from_bytes(&content[..])),
        ("content that breaks off", 5, broken()),
    ] {
        let written = subject.repository.write_blob(&right, size, stream).await;
        assert!(written.is_err(), "{what} was taken: {written:?}");
        let there = held("stat_blob", subject.repository.stat_blob(&right).await);
        assert_eq!(there, None, "{what} left a blob");
    }
    let written = subject
        .repository
        .write_blob(&right, 5, from_bytes(&content[..]))
        .await;
    assert_eq!(held("the right content afterwards", written), Written::New);
}

async fn written_at_once(subject: &Subject) {
    let content = Bytes::from(vec![7; 300_000]);
    let digest = Digest::of(&content);
    let writers: Vec<_> = (0..8)
        .map(|_| {
            let (repository, content) = (Arc::clone(&subject.repository), content.clone());
            tokio::spawn(async move {
                let size = content.len() as u64;
                repository.write_blob(&digest, size, from_bytes(content)).await
            })
        })
        .collect();
    for writer in writers {
        held(
            "one of several writers of one blob",
            held("joining", writer.await),
        );
    }
    let read = subject.read_blob(&digest, None).await;
    assert!(
        read == Some(content),
        "a blob written by several at once is damaged"
    );
}

/// A file with `content`, where files wait for their digest.
fn spooled(content: &[u8]) -> TemporaryFile {
    let mut file = held("a temporary file", files::temporary(&std::env::temp_dir()));
    for piece in content.chunks(100_000) {
        held("appending", file.append(piece));
    }
    file
}

async fn written_from_a_file(subject: &Subject) {
    let large: Vec<u8> = (0..900_000_u32).map(|i| (i % 241) as u8).collect();
    for content in [b"in a file".to_vec(), Vec::new(), large] {
        // Contents that were written before are there already.
        let content = [&content[..], b" and written from it"].concat();
        let digest = Digest::of(&content);
        for expected in [Written::New, Written::Present] {
            let file = spooled(&content);
            let path = file.path().to_owned();
            let written = subject.repository.write_spooled(&digest, file).await;
            assert_eq!(
                held("write_spooled", written),
                expected,
                "{} bytes",
                content.len()
            );
            assert!(!path.exists(), "the file is still there");
            let read = subject.read_blob(&digest, None).await;
            assert!(
                read.as_deref() == Some(&content[..]),
                "a blob from a file came back different"
            );
        }
    }
}

async fn mounted(subject: &Subject) {
    let (source, name) = (&subject.sibling, subject.sibling.name());
    let content = b"in the sibling";
    let digest = Digest::of(content);
    let absent = subject.repository.mount_blob(&digest, name).await;
    assert!(!held("mounting what is not there", absent));
    let size = content.len() as u64;
    held(
        "writing to the sibling",
        source.write_blob(&digest, size, from_bytes(&content[..])).await,
    );
    let mounted = held("mount_blob", subject.repository.mount_blob(&digest, name).await);
    assert!(
        mounted || !subject.expected.mounts,
        "a blob of the sibling was not mounted"
    );
    if mounted {
        let read = subject.read_blob(&digest, None).await;
        assert_eq!(read.as_deref(), Some(&content[..]), "a mounted blob");
        let again = held(
            "mounting again",
            subject.repository.mount_blob(&digest, name).await,
        );
        assert!(again, "what is mounted was not mounted again");
    }
    let nowhere = "conformance-nowhere".parse().unwrap();
    let other = Digest::of(b"in no repository");
    let absent = subject.repository.mount_blob(&other, &nowhere).await;
    assert!(!held("mounting from a repository that is not there", absent));
}
