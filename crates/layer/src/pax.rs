//! PAX extended header records (POSIX.1-2017, pax, "pax Extended Header").

use std::collections::BTreeMap;

/// Records by key. The order of the keys' bytes is the order in which they are written.
pub(crate) type Records = BTreeMap<Vec<u8>, Vec<u8>>;

/// The prefix of keys that carry extended attributes.
pub(crate) const XATTR: &[u8] = b"SCHILY.xattr.";

/// The records as the content of an extended header: each `LENGTH KEY=VALUE\n`.
pub(crate) fn format(records: &Records) -> Vec<u8> {
    let mut content = Vec::new();
    for (key, value) in records {
        let rest = key.len() + value.len() + b" =\n".len();
        content.extend_from_slice(record_length(rest).to_string().as_bytes());
        content.push(b' ');
        content.extend_from_slice(key);
        content.push(b'=');
        content.extend_from_slice(value);
        content.push(b'\n');
    }
    content
}

/// The length of a record counts its own digits.
fn record_length(rest: usize) -> usize {
    let digits = |number: usize| number.to_string().len();
    let length = rest + digits(rest);
    // One more digit can make the number one digit longer, and then never again.
    rest + digits(length)
}

/// Takes the content of an extended header apart; none if it is not one, or names a key twice.
pub(crate) fn parse(mut content: &[u8]) -> Option<Records> {
    let mut records = Records::new();
    while !content.is_empty() {
        let (key, value, rest) = parse_record(content)?;
        if records.insert(key.to_owned(), value.to_owned()).is_some() {
            return None;
        }
        content = rest;
    }
    Some(records)
}

fn parse_record(content: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = content.iter().take(20).position(|byte| *byte == b' ')?;
    let length = usize::try_from(parse_decimal(&content[..space])?).ok()?;
    let record = content.get(..length)?;
    let text = record.get(space + 1..)?.strip_suffix(b"\n")?;
    let equals = text.iter().position(|byte| *byte == b'=')?;
    let (key, value) = (&text[..equals], &text[equals + 1..]);
    (!key.is_empty()).then_some((key, value, &content[length..]))
}

/// A number of decimal digits and nothing else.
pub(crate) fn parse_decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// A time: seconds, perhaps negative, perhaps with a fraction, which is cut off towards the past.
pub(crate) fn parse_time(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix(b"-") {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let point = digits
        .iter()
        .position(|byte| *byte == b'.')
        .unwrap_or(digits.len());
    let fraction = digits.get(point + 1..).unwrap_or_default();
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let seconds = i64::try_from(parse_decimal(&digits[..point])?).ok()?;
    let has_fraction = fraction.iter().any(|digit| *digit != b'0');
    if negative {
        seconds.checked_neg()?.checked_sub(i64::from(has_fraction))
    } else {
        Some(seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(pairs: &[(&str, &str)]) -> Records {
        pairs
            .iter()
            .map(|(key, value)| (key.as_bytes().to_vec(), value.as_bytes().to_vec()))
            .collect()
    }

    #[test]
    fn lengths_count_themselves() {
        for value_length in 0..1200 {
            let content = format(&records(&[("path", &"x".repeat(value_length))]));
            let stated = content.split(|byte| *byte == b' ').next().unwrap();
            assert_eq!(parse_decimal(stated), Some(content.len() as u64));
        }
    }

    #[test]
    fn format_and_parse_are_inverse() {
        let records = records(&[
            ("path", "a\nb=c 12 d=e\n"),
            ("SCHILY.xattr.user.x", ""),
            ("size", "9"),
        ]);
        let content = format(&records);
        assert!(content.starts_with(b"24 SCHILY.xattr.user.x=\n"));
        assert_eq!(parse(&content), Some(records));
    }

    #[test]
    fn c9_records_that_others_read_otherwise_are_refused() {
        for bad in [
            "6 a=1\n6 a=2\n",
            "7 a=1\n",
            "5 a=1\n",
            "6 a=1",
            "6 a-1\n",
            "6 a=1\0",
            "-6 a=1\n",
            "+6 a=1\n",
            " 6 a=1\n",
            "06 a=1\n\n",
            "6  a=1\n",
            "5 =1\n",
            "99999999999999999999 a=1\n",
            "3 \n",
            "0 ",
            "\0\0",
        ] {
            assert_eq!(parse(bad.as_bytes()), None, "{bad:?}");
        }
        assert_eq!(parse(b""), Some(Records::new()));
    }

    #[test]
    fn b5_times_before_1970_are_times() {
        for (text, seconds) in [
            ("0", 0),
            ("1.9", 1),
            ("-1", -1),
            ("-1.5", -2),
            ("-1.000", -1),
            ("1698796800.123456789", 1_698_796_800),
        ] {
            assert_eq!(parse_time(text.as_bytes()), Some(seconds), "{text}");
        }
        for bad in ["", "-", ".5", "1.x", "--1", "1e9", "99999999999999999999"] {
            assert_eq!(parse_time(bad.as_bytes()), None, "{bad}");
        }
    }
}
