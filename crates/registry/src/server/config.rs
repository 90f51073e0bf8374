//! Under which rules a store is served.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cairn_oci::{Digest, Tag, manifest};

use super::access::Rule;
use super::tls::Tls;

/// The rules of a server.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Tags that are written only under a condition (428 otherwise), and not deleted.
    pub conditional_tags: Vec<Pattern>,
    /// Whether tags, manifests and blobs may be deleted (405 otherwise).
    pub delete: bool,
    /// Which users there are; everybody may use the server if none.
    pub basic: Option<BasicAuth>,
    /// Who may do what; if none, every user everything.
    pub rules: Vec<Rule>,
    /// When somebody without credentials is asked for them.
    pub challenge: Challenge,
    /// The certificate; plain HTTP if there is none.
    pub tls: Option<Arc<Tls>>,
    /// Sizes, counts and times.
    pub limits: Limits,
    /// What is told of each request.
    pub log: Arc<dyn AccessLog>,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            conditional_tags: vec![Pattern("cairn-head".to_owned())],
            delete: true,
            basic: None,
            rules: Vec::new(),
            challenge: Challenge::Always,
            tls: None,
            limits: Limits::default(),
            log: Arc::new(NoLog),
        }
    }
}

impl ServerConfig {
    /// Whether `tag` is written only under a condition.
    #[must_use]
    pub fn is_conditional(&self, tag: &Tag) -> bool {
        self.conditional_tags.iter().any(|pattern| pattern.matches(tag))
    }
}

/// What keeps one client from taking everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Largest manifest, in bytes.
    pub manifest: usize,
    /// Largest request head, in bytes.
    pub header: usize,
    /// Within which time a request's head must have come, counted also between two requests.
    pub header_timeout: Duration,
    /// How long a connection may stand still in the middle of a body, in either direction. Fewer than 1,024 bytes of a
    /// request's body within this time count as standing still.
    pub body_timeout: Duration,
    /// Most connections at once. Further ones wait.
    pub connections: usize,
    /// Most requests at once. Further ones get 503.
    pub requests: usize,
    /// Most requests at once that write a blob. Further ones get 429.
    pub uploads: usize,
    /// Most unfinished uploads in one repository. Further ones get 429.
    pub open_uploads: usize,
    /// Largest blob, in bytes. Larger ones get 413.
    pub blob: u64,
    /// Free bytes below which nothing is written any more (507).
    pub free_space: u64,
    /// Most entries of one page of a list.
    pub page: usize,
    /// How long requests in flight have when the server stops.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            manifest: manifest::LIMIT,
            header: 32 << 10,
            header_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(60),
            connections: 4096,
            requests: 1024,
            uploads: 256,
            open_uploads: 1000,
            blob: 64 << 30,
            free_space: 64 << 20,
            page: 1000,
            drain: Duration::from_secs(20),
        }
    }
}

/// A pattern of tags: a tag in which `*` stands for any characters, also none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(String);

/// The text is not a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Not a pattern of tags.
    #[error("`{text}` is not a pattern of tags: only letters, digits, `_`, `.`, `-` and `*`")]
    Tag {
        /// What was given.
        text: String,
    },
    /// Not a pattern of repositories.
    #[error(
        "`{text}` is not a pattern of repositories: a name, in which `*` stands for a part of a component and `**` for anything"
    )]
    Repository {
        /// What was given.
        text: String,
    },
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_.-*".contains(&b);
        if !text.is_empty() && text.len() <= 128 && text.bytes().all(allowed) {
            return Ok(Self(text.to_owned()));
        }
        Err(PatternError::Tag {
            text: text.to_owned(),
        })
    }
}

/// Whether `pattern` names `text`: `*` stands for any characters, also none; where `slashes` count, only `**` stands for
/// them too. Takes time in proportion to the product of the lengths.
pub(super) fn matches_stars(pattern: &str, text: &str, slashes: bool) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    // reached[n]: what was read of the pattern names the first n bytes of the text.
    let mut reached = vec![false; text.len() + 1];
    reached[0] = true;
    let mut at = 0;
    while at < pattern.len() {
        if pattern[at] == b'*' {
            let is_double = slashes && pattern.get(at + 1) == Some(&b'*');
            for end in 1..=text.len() {
                let passes = !slashes || is_double || text[end - 1] != b'/';
                reached[end] |= reached[end - 1] && passes;
            }
            at += if is_double { 2 } else { 1 };
        } else {
            for end in (1..=text.len()).rev() {
                reached[end] = reached[end - 1] && text[end - 1] == pattern[at];
            }
            reached[0] = false;
            at += 1;
        }
    }
    reached[text.len()]
}

impl Pattern {
    /// Whether the pattern names `tag`.
    #[must_use]
    pub fn matches(&self, tag: &Tag) -> bool {
        matches_stars(&self.0, tag.as_str(), false)
    }

    /// The one tag that the pattern names, if it has no `*`.
    #[must_use]
    pub fn exact(&self) -> Option<Tag> {
        self.0.parse().ok()
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Basic authentication (RFC 7617) for every request.
#[derive(Clone)]
pub struct BasicAuth {
    /// What the challenge says the credentials are for. Without quotes and backslashes.
    pub realm: String,
    /// Who is let in.
    pub accounts: Accounts,
}

/// How names and passwords are checked.
pub type Accounts = Arc<dyn Authenticator>;

impl fmt::Debug for BasicAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BasicAuth")
            .field("realm", &self.realm)
            .finish_non_exhaustive()
    }
}

/// When somebody without credentials is asked for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Challenge {
    /// Already at `/v2/`. Most clients send credentials only if they were asked there, so pushing needs this.
    Always,
    /// Only where something is not permitted without. Docker's classic engine pulls without logging in only with
    /// this.
    WhenNeeded,
}

/// What became of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The password is the user's.
    Allowed,
    /// There is no such user, or the password is another.
    Refused,
    /// Not checked: too many wrong ones came, or too many at once. Worth another try after this time.
    Wait(Duration),
}

/// Checks names and passwords.
#[async_trait]
pub trait Authenticator: Send + Sync {
    /// Whether `user`, who asks from `peer`, is let in with `password`. Takes no shorter for a better guess.
    async fn verify(&self, user: &str, password: &str, peer: IpAddr) -> Verdict;
}

/// Names and passwords in memory, kept as hashes that cost nothing: for tests, and for passwords that are as long as
/// keys. People's passwords belong into an [`super::Htpasswd`].
#[derive(Clone, Default)]
pub struct PasswordList(Vec<Digest>);

impl PasswordList {
    /// Takes passwords by user.
    #[must_use]
    pub fn new(passwords: &BTreeMap<String, String>) -> Self {
        Self(
            passwords
                .iter()
                .map(|(user, password)| pair(user, password))
                .collect(),
        )
    }
}

impl PasswordList {
    fn allows(&self, user: &str, password: &str) -> bool {
        let given = pair(user, password);
        self.0
            .iter()
            .fold(false, |found, known| found | same(known, &given))
    }
}

#[async_trait]
impl Authenticator for PasswordList {
    async fn verify(&self, user: &str, password: &str, _: IpAddr) -> Verdict {
        if self.allows(user, password) {
            Verdict::Allowed
        } else {
            Verdict::Refused
        }
    }
}

impl fmt::Debug for PasswordList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PasswordList({} accounts)", self.0.len())
    }
}

/// User names have no colon (RFC 7617), so a pair has one text.
fn pair(user: &str, password: &str) -> Digest {
    Digest::of(format!("{user}:{password}").as_bytes())
}

/// Compares all bytes, whatever the first ones are.
fn same(a: &Digest, b: &Digest) -> bool {
    let pairs = a.as_bytes().iter().zip(b.as_bytes());
    std::hint::black_box(pairs.fold(0, |difference, (a, b)| difference | (a ^ b))) == 0
}

/// What is told of a request when its answer has gone out. It holds no secrets, but untrusted text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessRecord {
    /// The method.
    pub method: String,
    /// The path, as it came, without the query.
    pub path: String,
    /// Which kind of endpoint: `manifest`, `blob`, `upload`, …, or `other`.
    pub endpoint: &'static str,
    /// Who asked, if the password was right.
    pub user: Option<String>,
    /// From where.
    pub peer: Option<SocketAddr>,
    /// The status of the answer.
    pub status: u16,
    /// Bytes of the request's body that were read.
    pub received: u64,
    /// Bytes of the answer's body that were sent.
    pub sent: u64,
    /// From the head of the request to the end of the answer.
    pub elapsed: Duration,
}

/// Hears of every request.
pub trait AccessLog: Send + Sync + fmt::Debug {
    /// A request is over, or its connection broke.
    fn request(&self, record: &AccessRecord);

    /// The store failed; the client was told nothing but that. The error's own text and its sources are for
    /// the operator.
    fn failure(&self, error: &(dyn std::error::Error + 'static));
}

/// Tells nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoLog;

impl AccessLog for NoLog {
    fn request(&self, _: &AccessRecord) {}

    fn failure(&self, _: &(dyn std::error::Error + 'static)) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_characters() {
        let matches =
            |pattern: &str, tag: &str| pattern.parse::<Pattern>().unwrap().matches(&tag.parse().unwrap());
        for (pattern, tag) in [
            ("cairn-head", "cairn-head"),
            ("*", "x"),
            ("v*", "v"),
            ("v*", "v1.0"),
            ("*-head", "a-head"),
            ("a*b*c", "axxbyyc"),
            ("a*b*c", "abc"),
            ("a**b", "ab"),
        ] {
            assert!(matches(pattern, tag), "{pattern} {tag}");
        }
        for (pattern, tag) in [
            ("cairn-head", "cairn-head2"),
            ("v*", "1v"),
            ("*-head", "a-heads"),
            ("a*b*c", "ac"),
            ("ab*ba", "aba"),
        ] {
            assert!(!matches(pattern, tag), "{pattern} {tag}");
        }
        assert!("a b".parse::<Pattern>().is_err());
    }

    #[test]
    fn passwords_are_compared_whole() {
        let list = PasswordList::new(&BTreeMap::from([("ann".to_owned(), "secret".to_owned())]));
        assert!(list.allows("ann", "secret"));
        for (user, password) in [("ann", "secre"), ("ann", ""), ("bob", "secret"), ("", "")] {
            assert!(!list.allows(user, password), "{user}");
        }
        assert_eq!(format!("{list:?}"), "PasswordList(1 accounts)");
    }
}
