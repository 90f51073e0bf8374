//! Versions of packages, compared as dpkg compares them (deb-version(7)).

use std::cmp::Ordering;

/// Compares two versions: epoch, upstream version, revision.
///
/// Both are texts that [`crate::Installed::new`] takes; of other texts the order is some order.
#[must_use]
pub fn compare(left: &str, right: &str) -> Ordering {
    let (left_epoch, left) = epoch(left);
    let (right_epoch, right) = epoch(right);
    let (left_upstream, left_revision) = revision(left);
    let (right_upstream, right_revision) = revision(right);
    numbers(left_epoch, right_epoch)
        .then_with(|| part(left_upstream, right_upstream))
        .then_with(|| part(left_revision, right_revision))
}

fn epoch(version: &str) -> (&[u8], &str) {
    match version.split_once(':') {
        Some((epoch, rest)) => (epoch.as_bytes(), rest),
        None => (b"", version),
    }
}

fn revision(version: &str) -> (&[u8], &[u8]) {
    match version.rsplit_once('-') {
        Some((upstream, revision)) => (upstream.as_bytes(), revision.as_bytes()),
        None => (version.as_bytes(), b""),
    }
}

/// Words and numbers by turns, beginning with a word. What is missing is an empty word, or zero.
fn part(mut left: &[u8], mut right: &[u8]) -> Ordering {
    while !left.is_empty() || !right.is_empty() {
        let (left_word, left_rest) = split(left, |byte| !byte.is_ascii_digit());
        let (right_word, right_rest) = split(right, |byte| !byte.is_ascii_digit());
        let (left_number, left_next) = split(left_rest, u8::is_ascii_digit);
        let (right_number, right_next) = split(right_rest, u8::is_ascii_digit);
        let order = words(left_word, right_word).then_with(|| numbers(left_number, right_number));
        if order.is_ne() {
            return order;
        }
        (left, right) = (left_next, right_next);
    }
    Ordering::Equal
}

fn split(bytes: &[u8], belongs: impl Fn(&u8) -> bool) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|byte| !belongs(byte));
    bytes.split_at(end.unwrap_or(bytes.len()))
}

/// `~` comes before the end, the end before letters, and letters before everything else.
fn words(left: &[u8], right: &[u8]) -> Ordering {
    let weight = |byte: Option<&u8>| match byte {
        Some(b'~') => -1,
        None => 0,
        Some(letter) if letter.is_ascii_alphabetic() => i32::from(*letter),
        Some(other) => i32::from(*other) + 256,
    };
    let longest = left.len().max(right.len());
    let orders = (0..longest).map(|at| weight(left.get(at)).cmp(&weight(right.get(at))));
    orders.fold(Ordering::Equal, Ordering::then)
}

/// Numbers of any length.
fn numbers(left: &[u8], right: &[u8]) -> Ordering {
    let significant = |digits: &[u8]| {
        digits
            .iter()
            .position(|digit| *digit != b'0')
            .unwrap_or(digits.len())
    };
    let (left, right) = (&left[significant(left)..], &right[significant(right)..]);
    left.len().cmp(&right.len()).then_with(|| left.cmp(right))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each less than the next. The order is that of `dpkg --compare-versions`.
    const ASCENDING: [&str; 16] = [
        "0~~",
        "0~~a",
        "0~",
        "0",
        "0+b1",
        "0.1",
        "1.0~rc1-1",
        "1.0",
        "1.0-0.1",
        "1.0-1~bpo12+1",
        "1.0-1",
        "1.0-1+b2",
        "1.0a",
        "1.0.1-1",
        "1.10",
        "1:0.1",
    ];

    #[test]
    fn versions_are_ordered_as_dpkg_orders_them() {
        for (at, left) in ASCENDING.iter().enumerate() {
            for (other, right) in ASCENDING.iter().enumerate() {
                assert_eq!(compare(left, right), at.cmp(&other), "{left} {right}");
            }
        }
    }

    #[test]
    fn what_is_missing_is_zero() {
        for (left, right) in [
            ("1", "0:1"),
            ("1", "1-0"),
            ("1.", "1.0"),
            ("01.002", "1.2"),
            ("1-", "1"),
        ] {
            assert_eq!(compare(left, right), Ordering::Equal, "{left} {right}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_two_are_ordered_one_way(left in "[0-9a-c.~+:-]{0,8}", right in "[0-9a-c.~+:-]{0,8}") {
            proptest::prop_assert_eq!(compare(&left, &right), compare(&right, &left).reverse());
            proptest::prop_assert_eq!(compare(&left, &left), Ordering::Equal);
        }
    }
}
