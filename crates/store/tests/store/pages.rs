//! Lists that are long, and descriptors that are (F10).

use std::ffi::{OsStr, OsString};

use cairn_oci::{Descriptor, Manifest, json, media_type};
use cairn_store::files::{Fs, RealFs};
use cairn_store::{Condition, Directory, Memory, Page, RawManifest, Repository, Target};

use crate::content::{name, write_blob};

/// 1 MiB of annotations in each of nine referrers: a page holds four of them at most, and none is lost.
#[tokio::test]
async fn f10_a_page_of_referrers_takes_bounded_memory() {
    let place = tempfile::tempdir().unwrap();
    let directory = Directory::open(place.path()).unwrap().open_repository(&name());
    let memory = Memory::new().open(&name());
    for repository in [&directory as &dyn Repository, &memory] {
        write_blob(repository, b"{}").await.unwrap();
        let empty = Descriptor::of(media_type::EMPTY, b"{}");
        let about = Descriptor::of(media_type::MANIFEST, b"not there");
        let mut written = Vec::new();
        for number in 0..9 {
            let mut manifest = Manifest::artifact("application/vnd.test", vec![empty.clone()]);
            manifest.subject = Some(about.clone());
            let long = format!("{number}").repeat(1 << 20);
            manifest.annotations.insert("long".to_owned(), long);
            let manifest = RawManifest::new(media_type::MANIFEST, json::canonical(&manifest));
            let target = Target::Digest(manifest.digest());
            repository
                .write_manifest(&target, &manifest, &Condition::Always)
                .await
                .unwrap();
            written.push(manifest.digest());
        }
        written.sort();
        let (mut page, mut found, mut pages) = (Page::first(), Vec::new(), 0);
        loop {
            let listed = repository
                .list_referrers(&about.digest, Some("application/vnd.test"), &page)
                .await
                .unwrap();
            assert!((1..=3).contains(&listed.manifests.len()));
            found.extend(listed.manifests.iter().map(|entry| entry.digest));
            pages += 1;
            page.after = listed.next;
            if page.after.is_none() {
                break;
            }
        }
        assert_eq!((found, pages), (written, 3));
        let other = repository
            .list_referrers(&about.digest, Some("other"), &Page::first())
            .await;
        assert_eq!(other.unwrap().manifests, []);
    }
}

#[test]
fn a_part_of_a_directory_is_what_the_whole_list_has_there() {
    let place = tempfile::tempdir().unwrap();
    for number in 0..300 {
        let name = format!("{:x}", number * 7919 % 1000);
        cairn_store::files::create_directories(&place.path().join(name)).unwrap();
    }
    let all = RealFs.list(place.path()).unwrap();
    let even = |name: &OsStr| name.len().is_multiple_of(2);
    for limit in [0, 1, 7, 299, 300, 1000] {
        for after in [None, Some("0"), Some("5"), Some("1f4"), Some("zzz")] {
            let after = after.map(OsStr::new);
            let part = RealFs.list_part(place.path(), after, limit, &even).unwrap();
            let expected: Vec<OsString> = all
                .iter()
                .filter(|name| after.is_none_or(|after| name.as_os_str() > after) && even(name))
                .take(limit)
                .cloned()
                .collect();
            assert_eq!(part, expected, "{limit} after {after:?}");
        }
    }
}
