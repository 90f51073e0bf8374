//! Names of the headers that the protocol adds to HTTP's own, and `ETag`s made of digests.

use cairn_oci::Digest;
use http::HeaderName;

/// The digest of the manifest or blob that an answer is about.
pub const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
/// Says that this is a registry: `registry/2.0`.
pub const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
/// The name of an upload, for clients that do not want to parse its location.
pub const UPLOAD_UUID: HeaderName = HeaderName::from_static("docker-upload-uuid");
/// The subject of the manifest that was written: this registry keeps the list of referrers.
pub const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
/// Which filters were applied to a list of referrers.
pub const FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");
/// A tag that was written beside the digest (distribution-spec, main branch).
pub const OCI_TAG: HeaderName = HeaderName::from_static("oci-tag");
/// Fewest bytes of a piece of an upload that is not the last (distribution-spec, "Pushing a blob in chunks").
pub const CHUNK_MIN_LENGTH: HeaderName = HeaderName::from_static("oci-chunk-min-length");
/// The condition of a write, and in the answer the condition that was honoured: [`crate::wire::condition`].
pub const CONDITION: HeaderName = HeaderName::from_static("cairn-condition");

/// What every manifest answer names as its entity tag: the digest in quotes (RFC 9110, section 8.8.3).
#[must_use]
pub fn etag(digest: &Digest) -> String {
    format!("\"{digest}\"")
}

/// The digest in a strong entity tag. `None` for weak tags, lists, `*`, and anything else.
#[must_use]
pub fn parse_etag(text: &str) -> Option<Digest> {
    text.trim().strip_prefix('"')?.strip_suffix('"')?.parse().ok()
}

/// Whether `If-None-Match` on a read names `digest` (RFC 9110, section 13.1.2: weak comparison, lists, `*`).
#[must_use]
pub fn none_match_names(text: &str, digest: &Digest) -> bool {
    text.split(',').map(str::trim).any(|tag| {
        tag == "*" || parse_etag(tag.strip_prefix("W/").unwrap_or(tag)).is_some_and(|found| found == *digest)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entity_tag_is_a_digest_in_quotes() {
        let digest = Digest::of(b"x");
        assert_eq!(parse_etag(&etag(&digest)), Some(digest));
        let bare = digest.to_string();
        for bad in ["*", "", "\"\"", "\"x\"", &bare, &format!("W/\"{bare}\"")] {
            assert_eq!(parse_etag(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_read_compares_with_every_tag_of_the_list() {
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        assert!(none_match_names(&format!("\"{b}\", W/\"{a}\""), &a));
        assert!(none_match_names("*", &a));
        assert!(!none_match_names(&format!("\"{b}\""), &a));
    }
}
