//! The hash of a certificate's subject, by which OpenSSL finds it in a directory (`openssl x509 -subject_hash`).
//!
//! It is the beginning of a SHA-1 of the name in a canonical form: strings as UTF-8, without blanks around them and with one
//! blank for several within, in small letters. SHA-1 protects nothing here.

use base64::Engine as _;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT: u8 = 0x06;
const UTF8: u8 = 12;
const T61: u8 = 20;
const UNIVERSAL: u8 = 28;
const BMP: u8 = 30;
/// UTF8String, PrintableString, T61String, IA5String, VisibleString, UniversalString, BMPString.
const STRINGS: [u8; 7] = [UTF8, 19, T61, 22, 26, UNIVERSAL, BMP];
/// The tag of a certificate's version.
const VERSION: u8 = 0xa0;

/// The hash of the first certificate of a PEM file (RFC 7468); none if there is none that can be read.
pub(super) fn hash(pem: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(pem).ok()?;
    let (_, after) = text.split_once("-----BEGIN CERTIFICATE-----")?;
    let (encoded, _) = after.split_once("-----END CERTIFICATE-----")?;
    let encoded: String = encoded.split_whitespace().collect();
    let certificate = base64::engine::general_purpose::STANDARD.decode(encoded).ok()?;
    of_name(subject(&certificate)?)
}

/// The content of the subject (RFC 5280, section 4.1).
fn subject(certificate: &[u8]) -> Option<&[u8]> {
    let (signed, _) = expect(certificate, SEQUENCE)?;
    let (mut fields, _) = expect(signed, SEQUENCE)?;
    if fields.first() == Some(&VERSION) {
        fields = element(fields)?.2;
    }
    // The serial number, the algorithm, the issuer, the validity.
    for _ in 0..4 {
        fields = element(fields)?.2;
    }
    expect(fields, SEQUENCE).map(|(subject, _)| subject)
}

/// The hash of a name, which is given without its own tag and length.
fn of_name(mut name: &[u8]) -> Option<u32> {
    let mut canonical = Vec::new();
    while !name.is_empty() {
        let (set, rest) = expect(name, SET)?;
        canonical.extend(encoded(SET, &canonical_set(set)?));
        name = rest;
    }
    let digest = digest(&SHA1_FOR_LEGACY_USE_ONLY, &canonical);
    let first: [u8; 4] = digest.as_ref().get(..4)?.try_into().ok()?;
    Some(u32::from_le_bytes(first))
}

/// The attributes of a set, each in its canonical form, in the order that DER has for them.
fn canonical_set(mut set: &[u8]) -> Option<Vec<u8>> {
    let mut attributes = Vec::new();
    while !set.is_empty() {
        let (attribute, rest) = expect(set, SEQUENCE)?;
        let (kind, value) = expect(attribute, OBJECT)?;
        let (tag, value, _) = element(value)?;
        let (tag, value) = match STRINGS.contains(&tag) {
            true => (UTF8, folded(&text(tag, value)?).into_bytes()),
            false => (tag, value.to_vec()),
        };
        let content = [encoded(OBJECT, kind), encoded(tag, &value)].concat();
        attributes.push(encoded(SEQUENCE, &content));
        set = rest;
    }
    attributes.sort();
    Some(attributes.concat())
}

fn text(tag: u8, value: &[u8]) -> Option<String> {
    match tag {
        T61 => Some(value.iter().copied().map(char::from).collect()),
        BMP => {
            let units = value
                .chunks(2)
                .map(|unit| Some(u16::from_be_bytes(unit.try_into().ok()?)));
            String::from_utf16(&units.collect::<Option<Vec<_>>>()?).ok()
        }
        UNIVERSAL => {
            let letters = value
                .chunks(4)
                .map(|letter| char::from_u32(u32::from_be_bytes(letter.try_into().ok()?)));
            letters.collect()
        }
        _ => String::from_utf8(value.to_vec()).ok(),
    }
}

/// Without blanks at the ends, with one blank for several, in small letters, of ASCII only.
fn folded(text: &str) -> String {
    let is_blank = |letter: char| matches!(letter, ' ' | '\t'..='\r');
    let words = text.split(is_blank).filter(|word| !word.is_empty());
    words.map(str::to_ascii_lowercase).collect::<Vec<_>>().join(" ")
}

/// The content of the element that `bytes` begin with, if its tag is `tag`, and what follows.
fn expect(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, content, rest) = element(bytes)?;
    (found == tag).then_some((content, rest))
}

/// The first element: its tag, its content, and what follows.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (first, mut rest) = rest.split_first()?;
    let length = match *first {
        short @ 0..=0x7f => usize::from(short),
        long @ 0x81..=0x84 => {
            let count = usize::from(long & 0x7f);
            let digits = rest.get(..count)?;
            rest = &rest[count..];
            digits
                .iter()
                .fold(0, |length, digit| length << 8 | usize::from(*digit))
        }
        _ => return None,
    };
    Some((*tag, rest.get(..length)?, &rest[length..]))
}

fn encoded(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    match u8::try_from(content.len()) {
        Ok(short @ 0..=0x7f) => bytes.push(short),
        _ => {
            let digits = content.len().to_be_bytes();
            let digits: Vec<u8> = digits.into_iter().skip_while(|digit| *digit == 0).collect();
            // A length has at most eight digits.
            bytes.push(0x80 | u8::try_from(digits.len()).unwrap_or(8));
            bytes.extend(digits);
        }
    }
    bytes.extend_from_slice(content);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u8, tag: u8, value: &str) -> Vec<u8> {
        let content = [encoded(OBJECT, &[0x55, 4, kind]), encoded(tag, value.as_bytes())].concat();
        encoded(SET, &encoded(SEQUENCE, &content))
    }

    /// Country, organisation and common name.
    fn name(values: [&str; 3]) -> Vec<u8> {
        let [country, organisation, common] = values;
        [
            attribute(6, 19, country),
            attribute(10, 19, organisation),
            attribute(3, UTF8, common),
        ]
        .concat()
    }

    fn pem(subject: &[u8]) -> String {
        let empty = encoded(SEQUENCE, b"");
        let fields = [
            encoded(VERSION, b"\x02\x01\x02"),
            encoded(2, b"\x01"),
            empty.clone(),
            empty.clone(),
            empty,
        ];
        let fields = [fields.concat(), encoded(SEQUENCE, subject)].concat();
        let certificate = encoded(SEQUENCE, &encoded(SEQUENCE, &fields));
        let text = base64::engine::general_purpose::STANDARD.encode(certificate);
        format!("# a comment\n-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
    }

    #[test]
    fn the_hash_is_the_one_of_openssl() {
        let common = name(["US", "Internet Security Research Group", "ISRG Root X1"]);
        assert_eq!(hash(pem(&common).as_bytes()), Some(0x4042_bcee));
        let other = name(["us", "  internet  SECURITY Research\tGroup ", "isrg root x1"]);
        assert_eq!(of_name(&other), Some(0x4042_bcee));
    }

    #[test]
    fn what_is_no_certificate_has_none() {
        let whole = pem(&name(["US", "x", "y"]));
        for bad in [
            "",
            "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----",
            &whole[..whole.len() - 40],
        ] {
            assert_eq!(hash(bad.as_bytes()), None, "{bad}");
        }
        let der = encoded(SEQUENCE, &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(subject(&der), None);
        assert_eq!(of_name(&[SET, 0x80]), None);
    }
}
