use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::*;

#[test]
fn canonical_form_sorts_keys_by_utf16_and_has_no_spaces() {
    let value: serde_json::Value = serde_json::from_str(
        "{\"b\": [1, true, null], \"\u{e000}\": 1, \"\u{1f600}\": 2, \"a\": \"\\u000a\"}",
    )
    .unwrap();
    let text = String::from_utf8(canonical(&value)).unwrap();
    assert_eq!(
        text,
        "{\"a\":\"\\n\",\"b\":[1,true,null],\"\u{1f600}\":2,\"\u{e000}\":1}"
    );
}

#[test]
fn c4_a_key_given_twice_is_refused_at_any_depth() {
    for text in [r#"{"a":1,"a":1}"#, r#"{"x":[{"a":1,"b":{},"a":2}]}"#] {
        assert!(
            parse::<serde_json::Value>(text.as_bytes(), 100).is_err(),
            "{text}"
        );
    }
    assert!(parse::<BTreeMap<String, u8>>(br#"{"a":1,"b":1}"#, 100).is_ok());
}

#[test]
fn c4_a_key_given_twice_is_refused_where_it_is_ignored() {
    for text in [
        r#"{"other":{"a":1,"a":2}}"#,
        r#"{"other":[[{"a":{},"a":{}}]]}"#,
        r#"{"other":1,"other":2}"#,
        r#"{"other":{"a":1,"\u0061":2}}"#,
        r#"{"n":1,"n":1}"#,
        r#"{"way":{"Tuple":[1,{"b":1,"b":1}]}}"#,
        r#"{"way":{"Newtype":{"b":1,"b":1}}}"#,
        r#"{"way":{"Struct":{"more":{"b":1,"b":1}}}}"#,
        r#"{"some":{"way":{"Tuple":[1,{"b":1,"b":1}]}}}"#,
    ] {
        let error = parse::<Lax>(text.as_bytes(), 1000).unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(
            source.contains("occurs twice at line 1 column"),
            "{text}: {source}"
        );
    }
}

#[test]
fn c4_a_key_given_twice_is_found_among_many() {
    for count in [1, 31, 32, 33, 34, 100] {
        for again in [0, count / 2, count - 1] {
            let keys = (0..count).chain([again]);
            let members: Vec<String> = keys.map(|key| format!("\"k{key}\":{{\"k0\":0}}")).collect();
            let (unique, twice) = (members[..count].join(","), members.join(","));
            let read = |members: &str| parse::<Lax>(format!("{{{members}}}").as_bytes(), 10_000).is_ok();
            assert!(read(&unique) && !read(&twice), "{count} {again}");
        }
    }
}

#[test]
fn trailing_bytes_and_long_documents_are_refused() {
    assert!(parse::<u8>(b"1 1", 100).is_err());
    assert!(parse::<Lax>(b"{} {}", 100).is_err());
    assert!(matches!(
        parse::<u8>(b"1", 0),
        Err(JsonError::TooLarge { length: 1, limit: 0 })
    ));
}

#[test]
fn what_is_wrong_is_said_with_its_place_and_the_document_comes_before_the_type() {
    for (text, expected) in [
        (
            r#"{"n":"no","x":{"a":1,"a":2}}"#,
            "the key \"a\" occurs twice at line 1 column 24",
        ),
        (
            r#"{"n":"no"}"#,
            "invalid type: string \"no\", expected u64 at line 1 column 9",
        ),
        (r#"{"n":1e999}"#, "number out of range at line 1 column 10"),
        (r#"{"other":1e999}"#, "number out of range at line 1 column 14"),
        (r#"{"n":"no""#, "EOF while parsing an object at line 1 column 9"),
    ] {
        let error = parse::<Lax>(text.as_bytes(), 100).unwrap_err();
        assert_eq!(
            std::error::Error::source(&error).unwrap().to_string(),
            expected,
            "{text}"
        );
    }
}

#[test]
fn ways_of_reading_that_are_not_followed_are_read_in_turn() {
    let numbers: BTreeMap<u32, u8> = parse(br#"{"1":1,"2":1}"#, 100).unwrap();
    assert_eq!(numbers.into_keys().collect::<Vec<_>>(), [1, 2]);
    assert!(parse::<BTreeMap<u32, u8>>(br#"{"1":1,"1":1}"#, 100).is_err());
}

#[test]
fn texts_are_borrowed_where_they_can_be() {
    let read: Borrowing<'_> = parse(br#"{"plain":"text","escaped":"te\u0078t"}"#, 100).unwrap();
    assert!(matches!(read.plain, Cow::Borrowed("text")));
    assert_eq!(read.escaped, "text");
}

#[derive(Debug, Deserialize)]
struct Borrowing<'a> {
    #[serde(borrow)]
    plain: Cow<'a, str>,
    #[serde(borrow)]
    escaped: Cow<'a, str>,
}

/// A type that ignores what it does not know.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Lax {
    n: Option<u64>,
    text: String,
    some: Option<Box<Lax>>,
    list: Vec<Lax>,
    map: BTreeMap<String, i8>,
    way: Option<Way>,
    unit: (),
    pair: Option<(bool, f64)>,
}

#[derive(Debug, PartialEq, Deserialize)]
enum Way {
    Unit,
    Newtype(Box<Lax>),
    Tuple(u8, serde_json::Value),
    Struct { more: BTreeMap<String, u8> },
}

/// A type that knows all of its members.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Strictest {
    n: u64,
    #[serde(default)]
    map: BTreeMap<String, Name>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(try_from = "String")]
struct Name(String);

impl TryFrom<String> for Name {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        (text.len() < 3).then_some(Self(text)).ok_or("too long")
    }
}

/// Documents that are nearly right, with keys that are often the same and often those of [`Lax`].
fn document() -> impl Strategy<Value = String> {
    let text = prop_oneof![
        Just("\"\""),
        Just("\"text\""),
        Just("\"\\u0061\""),
        Just("\"\\ud800\""),
        Just("\"Unit\""),
        Just("\"\u{e9}\""),
    ];
    let number = prop_oneof![
        Just("0"),
        Just("-1"),
        Just("300"),
        Just("1.5"),
        Just("1e999"),
        Just("01"),
        Just("18446744073709551616"),
    ];
    let plain = prop_oneof![
        8 => text.prop_map(str::to_owned),
        8 => number.prop_map(str::to_owned),
        4 => prop_oneof![Just("null"), Just("true"), Just("[]"), Just("{}"), Just("nul")].prop_map(str::to_owned),
    ];
    let key = prop::sample::select(vec![
        "n", "text", "some", "list", "map", "way", "unit", "pair", "more", "a", "b", "\\u0061", "1", "Unit",
        "Newtype", "Tuple", "Struct",
    ]);
    plain.prop_recursive(4, 40, 5, move |inner| {
        prop_oneof![
            1 => prop::collection::vec(inner.clone(), 0..4).prop_map(|list| format!("[{}]", list.join(","))),
            4 => prop::collection::vec((key.clone(), inner), 0..5).prop_map(|members| {
                let members: Vec<String> =
                    members.into_iter().map(|(key, value)| format!("\"{key}\": {value}")).collect();
                format!("{{{}}}", members.join(", "))
            }),
        ]
    })
}

/// Both readers say the same, the quicker one at most less.
fn check<'a, T: Deserialize<'a> + PartialEq + fmt::Debug>(text: &'a str) -> Result<(), TestCaseError> {
    let bytes = text.as_bytes();
    let in_turn = parse_in_turn::<T>(bytes);
    if let Ok(value) = parse_at_once::<T>(bytes) {
        prop_assert_eq!(&in_turn.as_ref().ok(), &Some(&value), "{}", text);
    }
    let read = parse::<T>(bytes, bytes.len());
    prop_assert_eq!(format!("{read:?}"), format!("{in_turn:?}"), "{}", text);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn nothing_is_taken_that_is_refused_when_it_is_read_in_turn(text in document()) {
        check::<Lax>(&text)?;
        check::<Strictest>(&text)?;
        check::<serde_json::Value>(&text)?;
        check::<IgnoredAny>(&text)?;
        check::<Way>(&text)?;
        check::<BTreeMap<u32, IgnoredAny>>(&text)?;
        check::<BTreeMap<Cow<'_, str>, u8>>(&text)?;
        check::<BTreeSet<&str>>(&text)?;
    }

    /// What is sent is seldom a document, and never a reason to panic.
    #[test]
    fn cut_documents_are_refused_alike(text in document(), cut in 0_usize..200) {
        let end = text.char_indices().map(|(at, _)| at).nth(cut).unwrap_or(text.len());
        check::<Lax>(&text[..end])?;
        check::<serde_json::Value>(&text[..end])?;
    }
}
