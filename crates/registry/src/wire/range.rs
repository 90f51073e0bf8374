//! Byte ranges: of downloads (RFC 9110, section 14) and of uploads (distribution-spec, "Pushing a blob in chunks").

use std::ops::Range;

/// What a `Range` header asks of content whose length is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// Everything: there is no range, or one that a server may ignore (another unit, several parts, broken).
    Whole,
    /// These bytes.
    Part(Range<u64>),
    /// Nothing of the content (416).
    Nothing,
}

/// Reads `Range: bytes=…` for content of `size` bytes.
#[must_use]
pub fn wanted(header: &str, size: u64) -> Wanted {
    let Some((first, last)) = header
        .trim()
        .strip_prefix("bytes=")
        .and_then(|s| s.split_once('-'))
    else {
        return Wanted::Whole;
    };
    match (number(first), number(last)) {
        (Some(first), _) if last.is_empty() => part(first..size, size),
        (Some(first), Some(last)) if first <= last => part(first..last.saturating_add(1).min(size), size),
        (None, Some(suffix)) if first.is_empty() => part(size.saturating_sub(suffix)..size, size),
        _ => Wanted::Whole,
    }
}

const fn part(range: Range<u64>, size: u64) -> Wanted {
    if range.start >= size || range.start >= range.end {
        Wanted::Nothing
    } else {
        Wanted::Part(range)
    }
}

/// Digits only: `str::parse` would take a sign. Saturates.
fn number(text: &str) -> Option<u64> {
    (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().unwrap_or(u64::MAX))
}

/// The `Range` header for `range`, which must not be empty.
#[must_use]
pub fn request(range: &Range<u64>) -> String {
    format!("bytes={}-{}", range.start, range.end.saturating_sub(1))
}

/// The `Content-Range` header of a part.
#[must_use]
pub fn content(range: &Range<u64>, size: u64) -> String {
    format!("bytes {}-{}/{size}", range.start, range.end.saturating_sub(1))
}

/// The range and the whole size that a `Content-Range` header states. `None` if it states less.
#[must_use]
pub fn parse_content(header: &str) -> Option<(Range<u64>, u64)> {
    let (range, size) = header.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last, size) = (number(first)?, number(last)?, number(size)?);
    (first <= last && last < size).then(|| (first..last + 1, size))
}

/// The range that a piece of an upload states: `first-last`, with or without a unit.
#[must_use]
pub fn parse_piece(header: &str) -> Option<Range<u64>> {
    let text = header.trim();
    let text = text
        .strip_prefix("bytes")
        .map_or(text, |rest| rest.trim_start_matches(['=', ' ']));
    let (first, last) = text.split('/').next()?.split_once('-')?;
    let (first, last) = (number(first)?, number(last)?);
    (first <= last).then(|| first..last.saturating_add(1))
}

/// The `Range` header that says how far an upload is. An empty one says `0-0`, as every registry does.
#[must_use]
pub fn progress(offset: u64) -> String {
    format!("0-{}", offset.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cut_to_the_content() {
        for (header, expected) in [
            ("bytes=0-0", Wanted::Part(0..1)),
            ("bytes=2-", Wanted::Part(2..10)),
            ("bytes=2-100", Wanted::Part(2..10)),
            ("bytes=-3", Wanted::Part(7..10)),
            ("bytes=-30", Wanted::Part(0..10)),
            ("bytes=0-99999999999999999999999", Wanted::Part(0..10)),
            ("bytes=10-", Wanted::Nothing),
            ("bytes=-0", Wanted::Nothing),
            ("bytes=3-2", Wanted::Whole),
            ("bytes=0-1,3-4", Wanted::Whole),
            ("bytes=+1-2", Wanted::Whole),
            ("items=0-1", Wanted::Whole),
            ("bytes=", Wanted::Whole),
            ("", Wanted::Whole),
        ] {
            assert_eq!(wanted(header, 10), expected, "{header}");
        }
        assert_eq!(wanted("bytes=0-", 0), Wanted::Nothing);
    }

    #[test]
    fn a_stated_range_must_lie_within_its_size() {
        assert_eq!(parse_content(&content(&(2..5), 10)), Some((2..5, 10)));
        for bad in [
            "bytes 5-2/10",
            "bytes 0-10/10",
            "bytes 0-1/*",
            "0-1/2",
            "bytes */10",
        ] {
            assert_eq!(parse_content(bad), None, "{bad}");
        }
    }

    #[test]
    fn pieces_come_with_and_without_a_unit() {
        for good in ["3-7", "bytes 3-7", "bytes=3-7", "bytes 3-7/100", "bytes 3-7/*"] {
            assert_eq!(parse_piece(good), Some(3..8), "{good}");
        }
        for bad in ["7-3", "", "-3", "3-", "a-b", "-1-2"] {
            assert_eq!(parse_piece(bad), None, "{bad}");
        }
    }
}
