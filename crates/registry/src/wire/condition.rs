//! Writes to a tag under a condition, in headers of a manifest `PUT`.
//!
//! | condition | request | answer, if it held |
//! |---|---|---|
//! | `Always` | – | – |
//! | `IfAbsent` | `If-None-Match: *`, `Cairn-Condition: if-absent` | `Cairn-Condition: if-absent` |
//! | `IfMatch` | `If-Match: "<digest>"`, `Cairn-Condition: if-match` | `Cairn-Condition: if-match` |
//! | `Seal` | `Cairn-Condition: seal` | `Cairn-Condition: seal` |
//!
//! `Cairn-Condition` says the same as HTTP's own headers for a reason: something between that drops `If-Match` from
//! a `PUT` is then noticed by the server, before anything is written. Clients that send only HTTP's headers are
//! understood too. The answer repeats what was honoured; a success without it is no success under the condition.

use std::fmt;
use std::str::FromStr;

use cairn_store::Condition;
use http::header::{HeaderMap, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH};

use super::header::{CONDITION, etag, parse_etag};

/// The kinds of conditions, as `Cairn-Condition` names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConditionName {
    /// `if-absent`
    IfAbsent,
    /// `if-match`
    IfMatch,
    /// `seal`
    Seal,
}

impl ConditionName {
    /// The kind of `condition`; none for [`Condition::Always`].
    #[must_use]
    pub const fn of(condition: &Condition) -> Option<Self> {
        match condition {
            Condition::Always => None,
            Condition::IfAbsent => Some(Self::IfAbsent),
            Condition::IfMatch(_) => Some(Self::IfMatch),
            Condition::Seal => Some(Self::Seal),
        }
    }

    /// The name in the header.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::IfAbsent => "if-absent",
            Self::IfMatch => "if-match",
            Self::Seal => "seal",
        }
    }
}

impl FromStr for ConditionName {
    type Err = ConditionError;

    fn from_str(text: &str) -> Result<Self, ConditionError> {
        [Self::IfAbsent, Self::IfMatch, Self::Seal]
            .into_iter()
            .find(|name| name.as_str() == text)
            .ok_or(ConditionError::Value(CONDITION))
    }
}

impl fmt::Display for ConditionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why the headers of a request state no condition that can be honoured. Nothing may be written then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConditionError {
    /// The header comes twice, or its value is none that this protocol knows.
    #[error("the header {0} has a value that is not supported here")]
    Value(HeaderName),
    /// The headers state different conditions; probably something between removed one.
    #[error("the headers of the request state different conditions")]
    Contradiction,
}

/// The condition that the headers of a manifest `PUT` state.
///
/// # Errors
///
/// [`ConditionError`] for everything that is not exactly one of the rows above: a condition that is not
/// understood must never be ignored.
pub fn parse(headers: &HeaderMap) -> Result<Condition, ConditionError> {
    let standard = match (single(headers, &IF_MATCH)?, single(headers, &IF_NONE_MATCH)?) {
        (None, None) => None,
        (Some(text), None) => {
            let digest = parse_etag(text).ok_or(ConditionError::Value(IF_MATCH))?;
            Some(Condition::IfMatch(digest))
        }
        (None, Some("*")) => Some(Condition::IfAbsent),
        (None, Some(_)) => return Err(ConditionError::Value(IF_NONE_MATCH)),
        (Some(_), Some(_)) => return Err(ConditionError::Contradiction),
    };
    let own = single(headers, &CONDITION)?
        .map(ConditionName::from_str)
        .transpose()?;
    match (standard, own) {
        (None, None) => Ok(Condition::Always),
        (None, Some(ConditionName::Seal)) => Ok(Condition::Seal),
        (Some(condition), None) => Ok(condition),
        (Some(condition), own) if ConditionName::of(&condition) == own => Ok(condition),
        _ => Err(ConditionError::Contradiction),
    }
}

fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, ConditionError> {
    let mut values = headers.get_all(name).iter();
    let (first, second) = (values.next(), values.next());
    match (first.map(HeaderValue::to_str), second) {
        (None, None) => Ok(None),
        (Some(Ok(text)), None) => Ok(Some(text.trim())),
        _ => Err(ConditionError::Value(name.clone())),
    }
}

/// The headers that state `condition`.
#[must_use]
pub fn headers(condition: &Condition) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let Some(name) = ConditionName::of(condition) else {
        return headers;
    };
    headers.insert(CONDITION, HeaderValue::from_static(name.as_str()));
    match condition {
        Condition::IfAbsent => {
            headers.insert(IF_NONE_MATCH, HeaderValue::from_static("*"));
        }
        Condition::IfMatch(digest) => {
            #[expect(clippy::expect_used, reason = "a digest in quotes is visible ASCII")]
            let value = HeaderValue::from_str(&etag(digest)).expect("a digest is ASCII");
            headers.insert(IF_MATCH, value);
        }
        Condition::Always | Condition::Seal => {}
    }
    headers
}

/// Whether the headers of an answer confirm `condition`.
#[must_use]
pub fn is_confirmed(condition: &Condition, headers: &HeaderMap) -> bool {
    let confirmed = headers.get(CONDITION).and_then(|value| value.to_str().ok());
    ConditionName::of(condition).is_none_or(|name| confirmed == Some(name.as_str()))
}

#[cfg(test)]
mod tests {
    use cairn_oci::Digest;

    use super::*;

    fn with(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn what_is_written_is_read_back() {
        for condition in [
            Condition::Always,
            Condition::IfAbsent,
            Condition::IfMatch(Digest::of(b"x")),
            Condition::Seal,
        ] {
            assert_eq!(parse(&headers(&condition)).unwrap(), condition);
        }
    }

    #[test]
    fn standard_headers_alone_are_enough() {
        let tag = etag(&Digest::of(b"x"));
        assert_eq!(
            parse(&with(&[("if-match", &tag)])).unwrap(),
            Condition::IfMatch(Digest::of(b"x"))
        );
        assert_eq!(
            parse(&with(&[("if-none-match", "*")])).unwrap(),
            Condition::IfAbsent
        );
    }

    #[test]
    fn a_condition_that_is_not_understood_is_never_ignored() {
        let tag = etag(&Digest::of(b"x"));
        let weak = format!("W/{tag}");
        for pairs in [
            &[("if-match", "*")][..],
            &[("if-match", weak.as_str())],
            &[("if-match", "")],
            &[("if-none-match", tag.as_str())],
            &[("if-match", tag.as_str()), ("if-none-match", "*")],
            &[("if-match", tag.as_str()), ("if-match", tag.as_str())],
            &[("cairn-condition", "sealed")],
            &[("cairn-condition", "if-match")],
            &[("cairn-condition", "if-absent"), ("if-match", tag.as_str())],
            &[("cairn-condition", "seal"), ("if-match", tag.as_str())],
        ] {
            assert!(parse(&with(pairs)).is_err(), "{pairs:?}");
        }
    }
}
