//! Against what GnuPG made (`tests/gpg`: keys of 2026-01-01, signatures of 2026-02-01), and against changes of it.

use jiff::Timestamp;

use super::*;

const TEXT: &[u8] = include_bytes!("../../tests/gpg/text");
const ARCHIVE: &[u8] = include_bytes!("../../tests/gpg/archive.asc");
const STABLE: &[u8] = include_bytes!("../../tests/gpg/stable.gpg");
const CURVE: &[u8] = include_bytes!("../../tests/gpg/curve.gpg");
const ARCHIVE_CLEAR: &[u8] = include_bytes!("../../tests/gpg/archive.clear");

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn spring() -> Timestamp {
    time("2026-03-01T00:00:00Z")
}

fn ring(bytes: &[u8]) -> Keyring {
    Keyring::read(bytes).unwrap()
}

fn clear(keyring: &Keyring, bytes: &[u8], at: Timestamp) -> Result<Signer, VerifyError> {
    let split = split_cleartext(bytes).unwrap();
    keyring.verify_cleartext(&split.signed, &split.signatures, at)
}

#[test]
fn gnupgs_signatures_count() {
    let detached: [(&[u8], &[u8]); 4] = [
        (ARCHIVE, include_bytes!("../../tests/gpg/archive.sig.asc")),
        (ARCHIVE, include_bytes!("../../tests/gpg/textmode.sig.asc")),
        (STABLE, include_bytes!("../../tests/gpg/stable.sig")),
        (CURVE, include_bytes!("../../tests/gpg/curve.sig")),
    ];
    for (keys, signature) in detached {
        let signer = ring(keys).verify(TEXT, signature, spring()).unwrap();
        assert_eq!(signer.created, time("2026-02-01T00:00:00Z"));
        let mut other = TEXT.to_vec();
        other[3] ^= 1;
        let error = ring(keys).verify(&other, signature, spring()).unwrap_err();
        assert!(
            matches!(&error, VerifyError::Untrusted { verdicts } if matches!(verdicts[..], [Verdict::Bad(_)]))
        );
    }
    assert!(clear(&ring(ARCHIVE), ARCHIVE_CLEAR, spring()).is_ok());
}

#[test]
fn a_signed_text_gives_what_was_signed() {
    let split = split_cleartext(ARCHIVE_CLEAR).unwrap();
    let text = std::str::from_utf8(TEXT).unwrap();
    assert_eq!(split.text, text.replace("  \n", "\n"));
}

#[test]
fn one_known_key_of_two_is_enough() {
    let both = include_bytes!("../../tests/gpg/both.clear");
    for keys in [ARCHIVE, STABLE] {
        assert!(clear(&ring(keys), both, spring()).is_ok());
    }
    let error = clear(&ring(CURVE), both, spring()).unwrap_err();
    assert!(error.to_string().contains("is not in the keyring"), "{error}");
}

#[test]
fn keys_and_signatures_have_their_time() {
    let keyring = ring(ARCHIVE);
    for (at, part) in [
        ("2026-01-15T00:00:00Z", "comes from the future"),
        ("2028-02-01T00:00:00Z", "has expired"),
    ] {
        let error = clear(&keyring, ARCHIVE_CLEAR, time(at)).unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[test]
fn a_revoked_key_counts_for_nothing_whatever_hash_revoked_it() {
    let signature = include_bytes!("../../tests/gpg/revoked.sig");
    let before = include_bytes!("../../tests/gpg/unrevoked.gpg");
    assert!(ring(before).verify(TEXT, signature, spring()).is_ok());
    let revoked: [&[u8]; 2] = [
        include_bytes!("../../tests/gpg/revoked.gpg"),
        include_bytes!("../../tests/gpg/revoked-sha1.gpg"),
    ];
    for keys in revoked {
        let error = ring(keys).verify(TEXT, signature, spring()).unwrap_err();
        assert!(error.to_string().contains("was revoked"), "{error}");
    }
}

#[test]
fn a_subkey_signs_until_it_is_revoked() {
    let signature = include_bytes!("../../tests/gpg/subkey.sig");
    let keys = include_bytes!("../../tests/gpg/subkey.gpg");
    assert!(ring(keys).verify(TEXT, signature, spring()).is_ok());
    let revoked = include_bytes!("../../tests/gpg/subkey-revoked.gpg");
    let error = ring(revoked).verify(TEXT, signature, spring()).unwrap_err();
    assert!(error.to_string().contains("was revoked"), "{error}");
}

#[test]
fn a_subkey_that_its_primary_key_does_not_bind_counts_for_nothing() {
    let keys = include_bytes!("../../tests/gpg/subkey.gpg");
    let signature = include_bytes!("../../tests/gpg/subkey.sig");
    let packets = packet::packets(keys).unwrap();
    let [.., subkey, binding] = &packets[..] else {
        panic!("a subkey and its binding are the last packets");
    };
    assert_eq!((subkey.tag, binding.tag), (14, 2));
    let start = keys.len() - binding.body.len();
    let hashed = 6 + usize::from(u16::from_be_bytes([binding.body[4], binding.body[5]]));
    // What it signs, and the end of the signature's numbers.
    for at in (start..start + hashed).chain([keys.len() - 1]) {
        let mut changed = keys.to_vec();
        changed[at] ^= 1;
        let is_trusted =
            Keyring::read(&changed).is_ok_and(|keys| keys.verify(TEXT, signature, spring()).is_ok());
        assert!(!is_trusted, "byte {at}");
    }
}

#[test]
fn fingerprints_choose_keys() {
    let signer = clear(&ring(ARCHIVE), ARCHIVE_CLEAR, spring()).unwrap();
    let mut all = ring(ARCHIVE);
    all.extend(ring(STABLE));
    let chosen = all.restricted(&[signer.primary.to_lowercase()]);
    assert!(clear(&chosen, ARCHIVE_CLEAR, spring()).is_ok());
    let stable = include_bytes!("../../tests/gpg/stable.sig");
    assert!(chosen.verify(TEXT, stable, spring()).is_err());
    assert!(all.restricted(&["0".repeat(40)]).is_empty());
}

#[test]
fn d2_a_signature_with_a_weak_hash_counts_for_nothing() {
    let sha1 = include_bytes!("../../tests/gpg/sha1.clear");
    let error = clear(&ring(ARCHIVE), sha1, spring()).unwrap_err();
    assert!(error.to_string().contains("uses SHA-1"), "{error}");
}

#[test]
fn d2_nothing_outside_of_the_signed_part_is_read() {
    let good = std::str::from_utf8(ARCHIVE_CLEAR).unwrap();
    let before = format!("Origin: Mallory\n{good}");
    let behind = format!("{good}Origin: Mallory\n");
    let twice = format!("{good}{good}");
    let header = good.replacen("Hash: SHA512", "Hash: SHA512\nOrigin: Mallory", 1);
    let unescaped = good.replacen("- -----and five", "-----and five", 1);
    let cut = &good[..good.len() - 40];
    let between = good.replacen(
        "-----BEGIN PGP SIGNATURE-----",
        "-----BEGIN PGP SIGNATURE-----\nx",
        1,
    );
    for (text, error) in [
        (&before[..], CleartextError::Unsigned),
        (&behind, CleartextError::Signature),
        (&twice, CleartextError::Signature),
        (&header, CleartextError::Line { line: 3 }),
        (&unescaped, CleartextError::Line { line: 7 }),
        (cut, CleartextError::Truncated),
        (&between, CleartextError::Signature),
        ("", CleartextError::Unsigned),
    ] {
        assert_eq!(split_cleartext(text.as_bytes()).err(), Some(error), "{text}");
    }
}

#[test]
fn d2_every_changed_bit_of_a_signed_text_is_noticed() {
    let keyring = ring(ARCHIVE);
    let whole = split_cleartext(ARCHIVE_CLEAR).unwrap();
    for at in 0..ARCHIVE_CLEAR.len() {
        let mut bytes = ARCHIVE_CLEAR.to_vec();
        bytes[at] ^= 1;
        let Ok(split) = split_cleartext(&bytes) else {
            continue;
        };
        let is_accepted = keyring
            .verify_cleartext(&split.signed, &split.signatures, spring())
            .is_ok();
        // What is accepted says the same: the change hit a blank, a header of the armor, or a hint in the signature.
        assert!(!is_accepted || split.text == whole.text, "byte {at}");
    }
}

#[test]
fn a_changed_keyring_never_trusts_another_key() {
    let signature = include_bytes!("../../tests/gpg/stable.sig");
    for at in 0..STABLE.len() {
        let mut bytes = STABLE.to_vec();
        bytes[at] ^= 1;
        // Whatever it became, the same text only is believed.
        if let Ok(keyring) = Keyring::read(&bytes) {
            assert!(
                keyring.verify(b"another text", signature, spring()).is_err(),
                "byte {at}"
            );
        }
    }
    assert_eq!(Keyring::read(b"").err(), Some(KeyringError::NoKey));
    assert_eq!(Keyring::read(b"hello").err(), Some(KeyringError::Malformed));
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_a_keyring_or_refused_without_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
        let _ = Keyring::read(&bytes).is_ok();
        let _ = ring(STABLE).verify(TEXT, &bytes, spring()).is_ok();
        let _ = split_cleartext(&bytes).is_ok();
    }
}
