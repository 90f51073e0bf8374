//! The endpoints of the protocol as one enumeration, read from and written as a method and a path.
//!
//! A repository's name contains slashes, so a path is read from its end: the last two segments decide.

use cairn_oci::digest::DigestError;
use cairn_oci::name::NameError;
use cairn_oci::{Digest, RepositoryName};
use cairn_store::{Target, UploadId};
use http::Method;

use super::percent;

/// One endpoint, with what its path names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// `GET /v2/`
    Ping,
    /// `GET /v2/_catalog`
    Catalog,
    /// `GET /v2/_oci/ext/discover`, or below a repository
    Discover(Option<RepositoryName>),
    /// `GET /v2/<name>/tags/list`
    Tags(RepositoryName),
    /// `GET /v2/<name>/referrers/<digest>`
    Referrers(RepositoryName, Digest),
    /// `… /v2/<name>/blobs/<digest>`
    Blob(BlobAction, RepositoryName, Digest),
    /// `POST /v2/<name>/blobs/uploads/`
    BeginUpload(RepositoryName),
    /// `… /v2/<name>/blobs/uploads/<id>`
    Upload(UploadAction, RepositoryName, UploadId),
    /// `… /v2/<name>/manifests/<tag or digest>`
    Manifest(ManifestAction, RepositoryName, Target),
}

/// What is done with a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlobAction {
    /// `GET`
    Read,
    /// `HEAD`
    Stat,
    /// `DELETE`
    Delete,
}

/// What is done with an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UploadAction {
    /// `GET`
    Status,
    /// `PATCH`
    Append,
    /// `PUT`
    Finish,
    /// `DELETE`
    Cancel,
}

/// What is done with a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ManifestAction {
    /// `GET`
    Read,
    /// `HEAD`
    Stat,
    /// `PUT`
    Write,
    /// `DELETE`
    Delete,
}

/// Why a method and a path are no endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// There is nothing at this path.
    #[error("there is no such endpoint")]
    Unknown,
    /// The path is not well encoded.
    #[error("the path is not well encoded")]
    Encoding,
    /// The endpoint does not have this method.
    #[error("the endpoint supports only {allow}")]
    Method {
        /// The value of the `Allow` header.
        allow: &'static str,
    },
    /// The name of the repository is not one.
    #[error("not a repository name")]
    Name(#[source] NameError),
    /// The digest is not one.
    #[error("not a digest")]
    Digest(#[source] DigestError),
    /// The tag is not one. No manifest can be there, and none can be written.
    #[error("not a tag")]
    Tag {
        /// Whether something was to be written.
        write: bool,
        /// What is wrong.
        source: NameError,
    },
    /// The name of the upload is not one that a server of ours gave out.
    #[error("not the name of an upload")]
    Upload,
}

impl Route {
    /// Reads a method and a path, without a query.
    ///
    /// # Errors
    ///
    /// [`RouteError`], from which the server makes 400, 404 or 405.
    pub fn parse(method: &Method, path: &str) -> Result<Self, RouteError> {
        let rest = path.strip_prefix("/v2").ok_or(RouteError::Unknown)?;
        let segments = decode(rest)?;
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        match segments.as_slice() {
            [] | [""] => only_get(method, Self::Ping),
            ["_catalog"] => only_get(method, Self::Catalog),
            ["_oci", "ext", "discover"] => only_get(method, Self::Discover(None)),
            [name @ .., "_oci", "ext", "discover"] => {
                only_get(method, Self::Discover(Some(repository(name)?)))
            }
            [name @ .., "tags", "list"] => only_get(method, Self::Tags(repository(name)?)),
            [name @ .., "referrers", digest] => {
                let name = repository(name)?;
                only_get(method, Self::Referrers(name, parse_digest(digest)?))
            }
            [name @ .., "blobs", "uploads"] | [name @ .., "blobs", "uploads", ""] => begin(method, name),
            [name @ .., "blobs", "uploads", id] => upload(method, name, id),
            [name @ .., "blobs", digest] => blob(method, name, digest),
            [name @ .., "manifests", target] => manifest(method, name, target),
            _ => Err(RouteError::Unknown),
        }
    }

    /// What kind of endpoint it is, in one word: for logs and counters.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Ping => "ping",
            Self::Catalog => "catalog",
            Self::Discover(_) => "discover",
            Self::Tags(_) => "tags",
            Self::Referrers(..) => "referrers",
            Self::Blob(..) => "blob",
            Self::BeginUpload(_) | Self::Upload(..) => "upload",
            Self::Manifest(..) => "manifest",
        }
    }

    /// The method of the endpoint.
    #[must_use]
    pub fn method(&self) -> Method {
        match self {
            Self::Blob(BlobAction::Stat, ..) | Self::Manifest(ManifestAction::Stat, ..) => Method::HEAD,
            Self::Blob(BlobAction::Delete, ..)
            | Self::Upload(UploadAction::Cancel, ..)
            | Self::Manifest(ManifestAction::Delete, ..) => Method::DELETE,
            Self::BeginUpload(_) => Method::POST,
            Self::Upload(UploadAction::Append, ..) => Method::PATCH,
            Self::Upload(UploadAction::Finish, ..) | Self::Manifest(ManifestAction::Write, ..) => Method::PUT,
            _ => Method::GET,
        }
    }

    /// The path of the endpoint. Nothing in it needs an escape.
    #[must_use]
    pub fn path(&self) -> String {
        match self {
            Self::Ping => "/v2/".to_owned(),
            Self::Catalog => "/v2/_catalog".to_owned(),
            Self::Discover(None) => "/v2/_oci/ext/discover".to_owned(),
            Self::Discover(Some(name)) => format!("/v2/{name}/_oci/ext/discover"),
            Self::Tags(name) => format!("/v2/{name}/tags/list"),
            Self::Referrers(name, digest) => format!("/v2/{name}/referrers/{digest}"),
            Self::Blob(_, name, digest) => format!("/v2/{name}/blobs/{digest}"),
            Self::BeginUpload(name) => format!("/v2/{name}/blobs/uploads/"),
            Self::Upload(_, name, id) => format!("/v2/{name}/blobs/uploads/{id}"),
            Self::Manifest(_, name, target) => format!("/v2/{name}/manifests/{target}"),
        }
    }
}

/// The segments after `/v2`, decoded. An escaped slash is no separator, and part of no name.
fn decode(rest: &str) -> Result<Vec<String>, RouteError> {
    if rest.is_empty() {
        return Ok(Vec::new());
    }
    let rest = rest.strip_prefix('/').ok_or(RouteError::Unknown)?;
    let decoded = rest.split('/').map(|segment| {
        percent::decode(segment)
            .filter(|text| !text.contains('/'))
            .ok_or(RouteError::Encoding)
    });
    decoded.collect()
}

fn repository(segments: &[&str]) -> Result<RepositoryName, RouteError> {
    if segments.is_empty() {
        return Err(RouteError::Unknown);
    }
    segments.join("/").parse().map_err(RouteError::Name)
}

fn parse_digest(text: &str) -> Result<Digest, RouteError> {
    text.parse().map_err(RouteError::Digest)
}

fn only_get(method: &Method, route: Route) -> Result<Route, RouteError> {
    match *method {
        Method::GET | Method::HEAD => Ok(route),
        _ => Err(RouteError::Method { allow: "GET, HEAD" }),
    }
}

fn begin(method: &Method, name: &[&str]) -> Result<Route, RouteError> {
    let name = repository(name)?;
    if method == Method::POST {
        return Ok(Route::BeginUpload(name));
    }
    Err(RouteError::Method { allow: "POST" })
}

fn upload(method: &Method, name: &[&str], id: &str) -> Result<Route, RouteError> {
    let action = match *method {
        Method::GET => UploadAction::Status,
        Method::PATCH => UploadAction::Append,
        Method::PUT => UploadAction::Finish,
        Method::DELETE => UploadAction::Cancel,
        _ => {
            return Err(RouteError::Method {
                allow: "GET, PATCH, PUT, DELETE",
            });
        }
    };
    let name = repository(name)?;
    let id = id.parse().map_err(|_| RouteError::Upload)?;
    Ok(Route::Upload(action, name, id))
}

fn blob(method: &Method, name: &[&str], digest: &str) -> Result<Route, RouteError> {
    let action = match *method {
        Method::GET => BlobAction::Read,
        Method::HEAD => BlobAction::Stat,
        Method::DELETE => BlobAction::Delete,
        _ => {
            return Err(RouteError::Method {
                allow: "GET, HEAD, DELETE",
            });
        }
    };
    Ok(Route::Blob(action, repository(name)?, parse_digest(digest)?))
}

fn manifest(method: &Method, name: &[&str], target: &str) -> Result<Route, RouteError> {
    let action = match *method {
        Method::GET => ManifestAction::Read,
        Method::HEAD => ManifestAction::Stat,
        Method::PUT => ManifestAction::Write,
        Method::DELETE => ManifestAction::Delete,
        _ => {
            return Err(RouteError::Method {
                allow: "GET, HEAD, PUT, DELETE",
            });
        }
    };
    let name = repository(name)?;
    let write = action == ManifestAction::Write;
    let target = if target.contains(':') {
        Target::Digest(parse_digest(target)?)
    } else {
        let tag = target.parse();
        Target::Tag(tag.map_err(|source| RouteError::Tag { write, source })?)
    };
    Ok(Route::Manifest(action, name, target))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Names made of the words that also mark endpoints, so that a wrong cut shows.
    fn names() -> impl Strategy<Value = RepositoryName> {
        let part = prop::sample::select(vec![
            "manifests",
            "blobs",
            "uploads",
            "tags",
            "list",
            "referrers",
            "ext",
            "discover",
            "v2",
            "a",
            "x_y.z",
        ]);
        prop::collection::vec(part, 1..5).prop_map(|parts| parts.join("/").parse().unwrap())
    }

    fn digests() -> impl Strategy<Value = Digest> {
        any::<[u8; 32]>().prop_map(Digest::from_bytes)
    }

    fn targets() -> impl Strategy<Value = Target> {
        let tag = prop_oneof![
            Just("uploads".to_owned()),
            Just("list".to_owned()),
            "[A-Za-z0-9_][A-Za-z0-9._-]{0,9}"
        ];
        prop_oneof![
            tag.prop_map(|tag| Target::Tag(tag.parse().unwrap())),
            digests().prop_map(Target::Digest)
        ]
    }

    fn routes() -> impl Strategy<Value = Route> {
        let blob = prop::sample::select(vec![BlobAction::Read, BlobAction::Stat, BlobAction::Delete]);
        let upload = prop::sample::select(vec![
            UploadAction::Status,
            UploadAction::Append,
            UploadAction::Finish,
            UploadAction::Cancel,
        ]);
        let manifest = prop::sample::select(vec![
            ManifestAction::Read,
            ManifestAction::Stat,
            ManifestAction::Write,
            ManifestAction::Delete,
        ]);
        prop_oneof![
            Just(Route::Ping),
            Just(Route::Catalog),
            prop::option::of(names()).prop_map(Route::Discover),
            names().prop_map(Route::Tags),
            (names(), digests()).prop_map(|(name, digest)| Route::Referrers(name, digest)),
            (blob, names(), digests()).prop_map(|(action, name, digest)| Route::Blob(action, name, digest)),
            names().prop_map(Route::BeginUpload),
            (upload, names(), "[0-9a-f]{32}").prop_map(|(action, name, id)| Route::Upload(
                action,
                name,
                id.parse().unwrap()
            )),
            (manifest, names(), targets())
                .prop_map(|(action, name, target)| Route::Manifest(action, name, target)),
        ]
    }

    proptest! {
        #[test]
        fn reading_undoes_writing(route in routes()) {
            prop_assert_eq!(Route::parse(&route.method(), &route.path()), Ok(route));
        }

        #[test]
        fn any_path_is_read_or_refused_without_panic(path in "/v2(/[ -~]{0,8}){0,5}") {
            if let Ok(route) = Route::parse(&Method::GET, &path) {
                prop_assert_eq!(Route::parse(&Method::GET, &route.path()), Ok(route));
            }
        }
    }

    #[test]
    fn f6_odd_names_are_refused() {
        for path in [
            "/v2/../manifests/x",
            "/v2/%2e%2e/manifests/x",
            "/v2/a/%2e%2e/tags/list",
            "/v2/_uploads/tags/list",
            "/v2/a%2fb/tags/list",
            "/v2/a//b/tags/list",
            "/v2/A/tags/list",
            "/v2/a%00/tags/list",
            "/v2//tags/list",
        ] {
            let error = Route::parse(&Method::GET, path).unwrap_err();
            assert!(
                matches!(error, RouteError::Name(_) | RouteError::Encoding),
                "{path}: {error:?}"
            );
        }
        for path in [
            "/",
            "/v1/",
            "/v2x",
            "/v2/a",
            "/v2/tags/list",
            "/v2/a/tags",
            "/v2/manifests/x",
        ] {
            assert_eq!(
                Route::parse(&Method::GET, path),
                Err(RouteError::Unknown),
                "{path}"
            );
        }
    }

    #[test]
    fn escaped_digests_are_understood() {
        let digest = Digest::of(b"x");
        let path = format!("/v2/a/blobs/sha256%3A{}", digest.hex());
        let expected = Route::Blob(BlobAction::Read, "a".parse().unwrap(), digest);
        assert_eq!(Route::parse(&Method::GET, &path), Ok(expected));
    }
}
