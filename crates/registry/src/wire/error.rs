//! Error answers (distribution-spec, "Error Codes").

use cairn_oci::{Digest, Tag, json};
use oci_spec::distribution::ErrorCode;
use serde::{Deserialize, Serialize};

/// Longest error body that is read, in bytes (64 KiB).
pub const LIMIT: usize = 64 << 10;
/// Longest text of the other side that goes into a message of ours, in characters.
pub const TEXT_LIMIT: usize = 200;

/// One of the codes of the specification, or another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Code {
    /// A code of the specification.
    Known(ErrorCode),
    /// Any other, such as `UNKNOWN` for an error inside the registry.
    Other(String),
}

impl From<ErrorCode> for Code {
    fn from(code: ErrorCode) -> Self {
        Self::Known(code)
    }
}

/// What Cairn's server adds to an error about a tag.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detail {
    /// The tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<Tag>,
    /// What it points at now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// It is sealed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sealed: bool,
}

/// One error of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorItem {
    /// What kind of error.
    pub code: Code,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// For programs; any JSON. Cairn's server writes a [`Detail`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<serde_json::Value>,
}

/// The body of an error answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// The errors; seldom more than one.
    #[serde(default)]
    pub errors: Vec<ErrorItem>,
}

impl ErrorBody {
    /// One error.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        let item = ErrorItem {
            code,
            message: Some(message.into()),
            detail: None,
        };
        Self { errors: vec![item] }
    }

    /// The same error with a detail.
    #[must_use]
    pub fn with_detail(mut self, detail: &Detail) -> Self {
        let value = serde_json::to_value(detail).ok();
        if let Some(item) = self.errors.first_mut() {
            item.detail = value;
        }
        self
    }

    /// Reads the body of an error answer, whatever it is: one that is not of the specification's form gives no
    /// errors.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Self {
        json::parse(bytes, LIMIT).unwrap_or_default()
    }

    /// Whether one of the errors has this code.
    #[must_use]
    pub fn has(&self, code: &ErrorCode) -> bool {
        self.errors
            .iter()
            .any(|item| matches!(&item.code, Code::Known(found) if found == code))
    }

    /// The detail of Cairn's server, if there is one.
    #[must_use]
    pub fn detail(&self) -> Option<Detail> {
        let value = self.errors.first()?.detail.clone()?;
        serde_json::from_value(value).ok()
    }

    /// Every digest that a detail names under `digest`, as registries do for missing blobs.
    #[must_use]
    pub fn named_digest(&self) -> Option<Digest> {
        let details = self.errors.iter().filter_map(|item| item.detail.as_ref());
        details
            .filter_map(|detail| detail.get("digest").or_else(|| detail.get("Digest")))
            .find_map(|digest| digest.as_str()?.parse().ok())
    }

    /// Codes and messages as one text of at most [`TEXT_LIMIT`] characters. Untrusted.
    #[must_use]
    pub fn text(&self) -> String {
        let items = self.errors.iter().take(5).map(|item| {
            let code = match &item.code {
                Code::Known(code) => code.to_string(),
                Code::Other(code) => code.clone(),
            };
            match &item.message {
                Some(message) => format!("{code}: {message}"),
                None => code,
            }
        });
        bounded(&items.collect::<Vec<_>>().join("; "))
    }
}

/// The first [`TEXT_LIMIT`] characters of `text`.
#[must_use]
pub fn bounded(text: &str) -> String {
    match text.char_indices().nth(TEXT_LIMIT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_is_that_of_the_specification() {
        let detail = Detail {
            tag: Some("1.0".parse().unwrap()),
            digest: None,
            sealed: true,
        };
        let body = ErrorBody::new(ErrorCode::Denied.into(), "sealed").with_detail(&detail);
        let bytes = json::canonical(&body);
        assert_eq!(
            String::from_utf8_lossy(&bytes),
            r#"{"errors":[{"code":"DENIED","detail":{"sealed":true,"tag":"1.0"},"message":"sealed"}]}"#
        );
        assert_eq!(ErrorBody::parse(&bytes), body);
        assert_eq!(body.detail(), Some(detail));
        let theirs: oci_spec::distribution::ErrorResponse = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(theirs.detail()[0].code(), &ErrorCode::Denied);
    }

    #[test]
    fn bodies_of_any_form_are_survived() {
        for text in [
            "",
            "<html>",
            "{\"errors\":3}",
            "[]",
            "{\"errors\":[{\"code\":7}]}",
        ] {
            assert_eq!(ErrorBody::parse(text.as_bytes()), ErrorBody::default(), "{text}");
        }
        let body = ErrorBody::parse(br#"{"errors":[{"code":"ODD","detail":"x"}]}"#);
        assert_eq!(body.errors[0].code, Code::Other("ODD".to_owned()));
        assert_eq!(body.detail(), None);
    }

    #[test]
    fn texts_of_the_other_side_are_cut() {
        let body = ErrorBody::new(ErrorCode::Denied.into(), "ä".repeat(1000));
        assert_eq!(body.text().chars().count(), TEXT_LIMIT + 1);
    }
}
