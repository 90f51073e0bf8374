//! Times as text: RFC 3339 in UTC, in the one spelling that `jiff` writes.

use cairn_oci::text;
use jiff::Timestamp;
use serde::{Deserializer, Serializer};

pub(crate) fn serialize<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(at)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    text::read(deserializer, |text| {
        parse(text).ok_or_else(|| format!("{text:?} is not a time such as 2026-11-21T10:02:00Z"))
    })
}

/// Other spellings of the same time would be other signed bytes, so they are refused.
fn parse(text: &str) -> Option<Timestamp> {
    let at: Timestamp = text.parse().ok()?;
    (at.to_string() == text).then_some(at)
}

/// The same for times that may be absent.
pub(crate) mod option {
    use jiff::Timestamp;
    use serde::{Deserializer, Serializer};

    #[expect(clippy::ref_option, reason = "serde gives a reference to the field")]
    pub(crate) fn serialize<S: Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
        match at {
            Some(at) => serializer.collect_str(at),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Timestamp>, D::Error> {
        super::deserialize(deserializer).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_spelling_is_read() {
        assert!(parse("2026-11-21T10:02:00Z").is_some());
        for bad in [
            "2026-11-21T10:02:00+00:00",
            "2026-11-21 10:02:00Z",
            "2026-11-21T10:02:00.0Z",
            "now",
            "",
        ] {
            assert!(parse(bad).is_none(), "{bad}");
        }
    }
}
