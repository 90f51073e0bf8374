//! In which fields two JSON documents differ.

use std::collections::BTreeSet;

use cairn_oci::json;
use serde::Serialize;
use serde_json::Value;

use super::Image;

/// One field of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldChange {
    /// Which: `config.Env`, `annotations["org.example/x"]`, `history[3].created_by`.
    pub field: String,
    /// What it was, as JSON; none: it was not there. May contain untrusted text.
    pub before: Option<String>,
    /// What it is, as JSON; none: it is gone. May contain untrusted text.
    pub after: Option<String>,
}

/// Configuration and annotations of two images; not the layers, which have a part of their own in the report.
pub(super) fn image_fields(old: &Image, new: &Image) -> Vec<FieldChange> {
    let mut changes = fields(&old.config, &new.config);
    changes.retain(|change| !change.field.starts_with("rootfs"));
    let annotations = fields(&old.manifest.annotations, &new.manifest.annotations);
    changes.extend(annotations.into_iter().map(|change| FieldChange {
        field: format!("annotations{}", change.field.trim_start_matches('.')),
        ..change
    }));
    changes
}

/// The fields in which two documents differ, in the order of their names.
///
/// Objects are compared key by key, lists of equal length element by element; other lists as a whole.
pub fn fields(before: &impl Serialize, after: &impl Serialize) -> Vec<FieldChange> {
    let mut changes = Vec::new();
    compare("", &value(before), &value(after), &mut changes);
    changes
}

fn value(document: &impl Serialize) -> Value {
    // What the canonical serialiser writes is JSON.
    serde_json::from_slice(&json::canonical(document)).unwrap_or_default()
}

fn compare(at: &str, before: &Value, after: &Value, changes: &mut Vec<FieldChange>) {
    match (before, after) {
        _ if before == after => {}
        (Value::Object(old), Value::Object(new)) => {
            let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
            for key in keys {
                let field = member(at, key);
                match (old.get(key), new.get(key)) {
                    (Some(before), Some(after)) => compare(&field, before, after, changes),
                    (before, after) => changes.push(FieldChange {
                        field,
                        before: before.map(Value::to_string),
                        after: after.map(Value::to_string),
                    }),
                }
            }
        }
        (Value::Array(old), Value::Array(new)) if old.len() == new.len() => {
            for (position, (before, after)) in old.iter().zip(new).enumerate() {
                compare(&format!("{at}[{position}]"), before, after, changes);
            }
        }
        (before, after) => changes.push(FieldChange {
            field: at.to_owned(),
            before: Some(before.to_string()),
            after: Some(after.to_string()),
        }),
    }
}

/// `at.key`, or `at["key"]` for a key that is no plain word.
fn member(at: &str, key: &str) -> String {
    let is_word = !key.is_empty()
        && key
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    match (is_word, at.is_empty()) {
        (true, true) => key.to_owned(),
        (true, false) => format!("{at}.{key}"),
        (false, _) => format!("{at}[{}]", Value::from(key)),
    }
}
