//! The list of tags. Runs first, while the repository is empty.

use super::{Subject, held, tag};
use crate::repository::{Condition, Page};

/// Capitals, digits and `_` are where the order of bytes differs from others.
const NAMES: [&str; 7] = ["1.0", "1.0-a", "10", "9", "B", "_a", "b"];

pub(super) async fn check(subject: &Subject) {
    assert_eq!(
        all(subject, 1000).await,
        Vec::<String>::new(),
        "tags of an empty repository"
    );
    let manifest = subject.image("tags").await;
    for name in ["b", "9", "1.0-a", "_a", "10", "B", "1.0"] {
        held(
            "writing a tag",
            subject.write(name, &manifest, Condition::Always).await,
        );
    }
    held("writing a manifest without a tag", {
        let untagged = subject.image("no tag").await;
        subject.write_by_digest(&untagged).await
    });
    for limit in [1, 2, 3, 7, 1000] {
        assert_eq!(all(subject, limit).await, NAMES, "in pages of {limit}");
    }
    if subject.expected.strict_pages {
        pages_are_exact(subject).await;
    }
}

/// All tags, page by page; sorted here if the repository does not.
async fn all(subject: &Subject, limit: usize) -> Vec<String> {
    let (mut names, mut after) = (Vec::new(), None);
    loop {
        let page = Page { after, limit };
        let part = held("list_tags", subject.repository.list_tags(&page).await);
        if subject.expected.strict_pages {
            assert!(
                part.tags.len() <= limit,
                "a page of {} tags, asked for {limit}",
                part.tags.len()
            );
        }
        names.extend(part.tags.iter().map(ToString::to_string));
        assert!(names.len() <= NAMES.len(), "tags come again: {names:?}");
        if part.next.is_none() {
            break;
        }
        after = part.next;
    }
    if !subject.expected.sorted_tags {
        names.sort_unstable();
    }
    names
}

async fn pages_are_exact(subject: &Subject) {
    for (after, limit, expected, more) in [
        (None, 2, &NAMES[..2], true),
        (None, 7, &NAMES[..], false),
        (Some("10"), 2, &NAMES[3..5], true),
        (Some("1.5"), 2, &NAMES[2..4], true),
        (Some("b"), 2, &NAMES[7..], false),
    ] {
        let page = Page {
            after: after.map(str::to_owned),
            limit,
        };
        let part = held("list_tags", subject.repository.list_tags(&page).await);
        let expected: Vec<_> = expected.iter().map(|name| tag(name)).collect();
        assert_eq!(part.tags, expected, "{page:?}");
        assert_eq!(part.next.is_some(), more, "whether more follows after {page:?}");
    }
}
