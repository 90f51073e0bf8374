//! Uploads that are interrupted, repeated and mixed up (F4, F5).

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use cairn_oci::Digest;
use cairn_store::{
    ByteStream, Directory, Memory, Repository, RepositoryError, Store, UploadError, UploadId, from_bytes,
};
use futures_util::stream;

use crate::content::{has_blob, name};
use crate::writers::list;

async fn both(test: impl AsyncFn(Arc<dyn Store>)) {
    test(Arc::new(Memory::new())).await;
    let place = tempfile::tempdir().unwrap();
    test(Arc::new(Directory::open(place.path()).unwrap())).await;
}

async fn append(
    store: &dyn Store,
    id: &UploadId,
    offset: u64,
    content: &'static [u8],
) -> Result<u64, UploadError> {
    store
        .append_upload(&name(), id, offset, from_bytes(content))
        .await
}

#[tokio::test]
async fn f4_a_piece_at_the_wrong_offset_changes_nothing() {
    both(async |store| {
        let id = store.begin_upload(&name()).await.unwrap();
        assert_eq!(append(&*store, &id, 0, b"01234").await.unwrap(), 5);
        for wrong in [0, 4, 6, u64::MAX] {
            let error = append(&*store, &id, wrong, b"x").await.unwrap_err();
            assert!(
                matches!(error, UploadError::Offset { offset: 5, given, .. } if given == wrong),
                "{error:?}"
            );
        }
        assert_eq!(store.upload_offset(&name(), &id).await.unwrap(), 5);
        assert_eq!(append(&*store, &id, 5, b"56789").await.unwrap(), 10);
        let size = store
            .finish_upload(&name(), &id, &Digest::of(b"0123456789"))
            .await;
        assert_eq!(size.unwrap(), 10);
        let repository = store.repository(&name()).await.unwrap();
        assert!(has_blob(&*repository, Digest::of(b"0123456789")).await);
    })
    .await;
}

#[tokio::test]
async fn f4_what_came_before_a_broken_connection_is_kept() {
    both(async |store| {
        let id = store.begin_upload(&name()).await.unwrap();
        let pieces = [
            Ok(Bytes::from_static(b"kept")),
            Err(io::ErrorKind::ConnectionReset.into()),
        ];
        let broken: ByteStream = Box::pin(stream::iter(pieces));
        let error = store.append_upload(&name(), &id, 0, broken).await.unwrap_err();
        assert!(matches!(error, UploadError::Content { .. }), "{error:?}");
        assert_eq!(store.upload_offset(&name(), &id).await.unwrap(), 4);
        append(&*store, &id, 4, b" on").await.unwrap();
        store
            .finish_upload(&name(), &id, &Digest::of(b"kept on"))
            .await
            .unwrap();
    })
    .await;
}

#[tokio::test]
async fn f4_an_upload_goes_on_after_a_restart() {
    let place = tempfile::tempdir().unwrap();
    let reopened = || Directory::open(place.path()).unwrap();
    let id = reopened().begin_upload(&name()).await.unwrap();
    for (offset, piece) in [(0, b"one ".as_slice()), (4, b"two "), (8, b"three")] {
        let store = reopened();
        assert_eq!(store.upload_offset(&name(), &id).await.unwrap(), offset);
        append(&store, &id, offset, piece).await.unwrap();
    }
    let digest = Digest::of(b"one two three");
    assert_eq!(reopened().finish_upload(&name(), &id, &digest).await.unwrap(), 13);
    assert!(has_blob(&reopened().open_repository(&name()), digest).await);
    assert_eq!(
        list(&place.path().join("repos/hello/_uploads")),
        Vec::<String>::new()
    );
}

#[tokio::test]
async fn an_upload_with_another_digest_is_gone() {
    both(async |store| {
        let id = store.begin_upload(&name()).await.unwrap();
        append(&*store, &id, 0, b"something").await.unwrap();
        let expected = Digest::of(b"something else");
        let error = store.finish_upload(&name(), &id, &expected).await.unwrap_err();
        assert!(
            matches!(error, UploadError::Repository(RepositoryError::Digest { .. })),
            "{error:?}"
        );
        assert_unknown(&*store, &id).await;
        let repository = store.repository(&name()).await.unwrap();
        assert!(
            !has_blob(&*repository, expected).await
                && !has_blob(&*repository, Digest::of(b"something")).await
        );
    })
    .await;
}

async fn assert_unknown(store: &dyn Store, id: &UploadId) {
    let unknown = |error: UploadError| assert!(matches!(error, UploadError::Unknown { .. }), "{error:?}");
    unknown(store.upload_offset(&name(), id).await.unwrap_err());
    unknown(append(store, id, 0, b"x").await.unwrap_err());
    unknown(
        store
            .finish_upload(&name(), id, &Digest::of(b""))
            .await
            .unwrap_err(),
    );
    unknown(store.cancel_upload(&name(), id).await.unwrap_err());
}

#[tokio::test]
async fn uploads_that_do_not_exist_or_were_cancelled_are_unknown() {
    both(async |store| {
        assert_unknown(&*store, &UploadId::random().unwrap()).await;
        let id = store.begin_upload(&name()).await.unwrap();
        append(&*store, &id, 0, b"x").await.unwrap();
        store.cancel_upload(&name(), &id).await.unwrap();
        assert_unknown(&*store, &id).await;
    })
    .await;
}

#[tokio::test]
async fn an_empty_upload_is_the_empty_blob() {
    both(async |store| {
        let id = store.begin_upload(&name()).await.unwrap();
        assert_eq!(
            store.finish_upload(&name(), &id, &Digest::of(b"")).await.unwrap(),
            0
        );
        assert!(has_blob(&*store.repository(&name()).await.unwrap(), Digest::of(b"")).await);
    })
    .await;
}

/// Two connections send the same piece: one is taken, the other told where the upload is.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_pieces_at_one_offset_do_not_mix() {
    let place = tempfile::tempdir().unwrap();
    let stores = [
        Directory::open(place.path()).unwrap(),
        Directory::open(place.path()).unwrap(),
    ];
    let id = stores[0].begin_upload(&name()).await.unwrap();
    let piece = |byte: u8| -> ByteStream {
        Box::pin(stream::iter(
            (0..50).map(move |_| Ok(Bytes::from(vec![byte; 1000]))),
        ))
    };
    let writers: Vec<_> = (0..8_u8)
        .map(|number| {
            let (store, id, content) = (stores[usize::from(number) % 2].clone(), id.clone(), piece(number));
            tokio::spawn(async move { (number, store.append_upload(&name(), &id, 0, content).await) })
        })
        .collect();
    let mut taken = Vec::new();
    for writer in writers {
        match writer.await.unwrap() {
            (number, Ok(length)) => taken.push((number, length)),
            (_, Err(error)) => assert!(
                matches!(error, UploadError::Offset { offset: 50_000, .. }),
                "{error:?}"
            ),
        }
    }
    let [(number, 50_000)] = taken[..] else {
        panic!("{taken:?}")
    };
    let digest = Digest::of(&vec![number; 50_000]);
    let mut finished = 0;
    for store in stores.iter().cycle().take(4) {
        finished += u32::from(store.finish_upload(&name(), &id, &digest).await.is_ok());
    }
    assert_eq!(finished, 1, "an upload was finished {finished} times");
    assert!(has_blob(&stores[0].open_repository(&name()), digest).await);
}

/// The hash that is kept in memory is not believed when another process has written in between.
#[tokio::test]
async fn a_hash_in_memory_does_not_hide_what_another_process_wrote() {
    let place = tempfile::tempdir().unwrap();
    let ours = Directory::open(place.path()).unwrap();
    let theirs = Directory::open(place.path()).unwrap();
    let id = ours.begin_upload(&name()).await.unwrap();
    append(&ours, &id, 0, b"ours ").await.unwrap();
    append(&theirs, &id, 5, b"theirs ").await.unwrap();
    append(&ours, &id, 12, b"ours").await.unwrap();
    let digest = Digest::of(b"ours theirs ours");
    ours.finish_upload(&name(), &id, &digest).await.unwrap();
    assert!(has_blob(&ours.open_repository(&name()), digest).await);
}

#[tokio::test]
async fn f5_abandoned_uploads_can_be_removed_by_age() {
    let place = tempfile::tempdir().unwrap();
    let store = Directory::open(place.path()).unwrap();
    let mut ids = Vec::new();
    for _ in 0..20 {
        ids.push(store.begin_upload(&name()).await.unwrap());
    }
    let changed = place.path().join("repos/hello/_uploads").join(ids[0].as_str());
    let time: SystemTime = changed.metadata().unwrap().modified().unwrap();
    assert_eq!(
        store
            .remove_uploads_before(&name(), time - Duration::from_secs(60))
            .await
            .unwrap(),
        0
    );
    assert_eq!(
        store
            .remove_uploads_before(&name(), time + Duration::from_secs(60))
            .await
            .unwrap(),
        20
    );
    assert_unknown(&store, &ids[0]).await;
}

/// The caller goes away in the middle of a write: nothing stays.
#[tokio::test]
async fn a_write_that_is_dropped_leaves_nothing() {
    let place = tempfile::tempdir().unwrap();
    let repository = Directory::open(place.path()).unwrap().open_repository(&name());
    let digest = Digest::of(b"never complete");
    let first = stream::iter([Ok(Bytes::from_static(b"never"))]);
    let endless: ByteStream = Box::pin(futures_util::StreamExt::chain(first, stream::pending()));
    let waiting = {
        let repository = repository.clone();
        tokio::spawn(async move { repository.write_blob(&digest, 14, endless).await })
    };
    let uploads = place.path().join("repos/hello/_uploads");
    while !uploads.is_dir() || list(&uploads).is_empty() {
        tokio::task::yield_now().await;
    }
    waiting.abort();
    while !list(&uploads).is_empty() {
        tokio::task::yield_now().await;
    }
    assert!(!has_blob(&repository, digest).await);
}
