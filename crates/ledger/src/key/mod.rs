//! Keys that sign entries and heads.
//!
//! A public key is written as its SubjectPublicKeyInfo (RFC 5280 §4.1.2.7; for Ed25519 RFC 8410, for ECDSA P-256
//! RFC 5480), so that the algorithm is part of it. Its fingerprint is `SHA256:` and the unpadded base64 of the SHA-256 of
//! those bytes; `openssl pkey -pubin -in cairn.pub -outform DER | openssl dgst -sha256 -binary | base64` prints the same.

mod fingerprint;
mod public;
mod signer;
pub mod ssh;

pub use fingerprint::{Fingerprint, FingerprintError};
pub use public::{Algorithm, KeyError, PublicKey, p256_signature};
pub use signer::{LocalKey, SEED_LENGTH, SecretText, SignError, Signer};

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 8032 §7.1, test 2.
    const SEED: &str = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb";
    const SIGNATURE: &str = "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00";

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
            .collect()
    }

    fn key() -> LocalKey {
        LocalKey::from_seed(&hex(SEED).try_into().unwrap()).unwrap()
    }

    #[test]
    fn signatures_are_those_of_rfc_8032() {
        assert_eq!(key().sign(&[0x72]).unwrap(), hex(SIGNATURE));
        assert!(key().key().verifies(&[0x72], &hex(SIGNATURE)));
        assert!(!key().key().verifies(&[0x73], &hex(SIGNATURE)));
        assert!(!key().key().verifies(&[0x72], &hex(SIGNATURE)[..63]));
    }

    #[test]
    fn text_forms_are_inverse() {
        let key = key();
        let public = PublicKey::from_pem(&key.key().to_pem()).unwrap();
        assert_eq!(&public, key.key());
        assert_eq!(
            LocalKey::from_pem(key.to_pem().expose()).unwrap().key(),
            key.key()
        );
        let fingerprint = public.fingerprint();
        assert_eq!(fingerprint.to_string().parse(), Ok(fingerprint));
        assert_eq!(PublicKey::from_spki(&public.to_spki()).unwrap(), public);
    }

    #[test]
    fn weak_keys_and_other_forms_are_refused() {
        let mut identity = key().key().to_spki();
        identity.truncate(12);
        identity.push(1);
        identity.extend([0; 31]);
        assert!(matches!(
            PublicKey::from_spki(&identity),
            Err(KeyError::Point { .. })
        ));
        assert!(matches!(
            PublicKey::from_spki(&identity[..43]),
            Err(KeyError::Form)
        ));
        assert!(matches!(PublicKey::from_spki(&[]), Err(KeyError::Form)));
        assert!(LocalKey::from_pem("-----BEGIN PRIVATE KEY-----").is_err());
        assert!("SHA256:zz".parse::<Fingerprint>().is_err());
    }

    /// `openssl ecparam -name prime256v1 -genkey`, its public half, and two signatures of `hello` by `openssl dgst -sha256
    /// -sign`: one with a high s, and one with a low.
    const P256_PEM: &str = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEjvVs21KC2nyRNq2QWpsTUUOZMaHp\n6rRMU4K55S2Omfw1V6SQV0JNRQ7Gx0AoKYdBxp3/+MMbQGmUmttqXjN6xg==\n-----END PUBLIC KEY-----\n";
    const HIGH: &str = "304602210091105552acc64370895954833ab8c61e5d0b78439dee1e9f01b72eaba8a8095a022100bfaa12db34cb5fd4c8c7528a589b2ae0821b2acafaffe5da13f5b722bad56ba5";
    const LOW: &str = "3044022064ab9b83f1e649d224354c29c1d0bf9b070449afead00ea5fd49305f8f42b54102203b690c5d4a826ab4512b3f127bdad230351154d23389ac3e413f94dd4858a1e6";

    #[test]
    fn p256_signatures_of_openssl_verify_with_a_high_and_with_a_low_s() {
        let public = PublicKey::from_pem(P256_PEM).unwrap();
        assert_eq!(public.algorithm(), Algorithm::EcdsaP256);
        assert_eq!(public.to_pem(), P256_PEM);
        assert_eq!(public.to_spki().len(), 91);
        for signature in [hex(HIGH), hex(LOW)] {
            assert!(public.verifies(b"hello", &signature));
            assert!(!public.verifies(b"hallo", &signature));
            for end in 0..signature.len() {
                assert!(!public.verifies(b"hello", &signature[..end]), "{end}");
            }
            assert!(!public.verifies(b"hello", &[&signature[..], &[0]].concat()));
            // Ed25519's form is none of P-256's.
            assert!(!key().key().verifies(b"hello", &signature));
        }
    }

    #[test]
    fn g7_a_p256_signature_in_another_encoding_is_none() {
        let public = PublicKey::from_pem(P256_PEM).unwrap();
        let good = hex(LOW);
        // 0x30 LEN 0x02 RLEN R 0x02 SLEN S
        let r_length = usize::from(good[3]);
        let (r, s) = (&good[4..4 + r_length], &good[6 + r_length..]);
        let sequence =
            |body: &[u8]| -> Vec<u8> { [&[0x30, u8::try_from(body.len()).unwrap()], body].concat() };
        let integer =
            |value: &[u8]| -> Vec<u8> { [&[2, u8::try_from(value.len()).unwrap()], value].concat() };
        let again = sequence(&[integer(r), integer(s)].concat());
        assert_eq!(again, good);
        let padded = |value: &[u8]| -> Vec<u8> { [&[0], value].concat() };
        let long_form = [&[0x30, 0x81, good[1]], &good[2..]].concat();
        let raw: Vec<u8> = [r, s]
            .iter()
            .flat_map(|value| &value[value.len() - 32..])
            .copied()
            .collect();
        for other in [
            sequence(&[integer(&padded(r)), integer(s)].concat()),
            sequence(&[integer(r), integer(&padded(s))].concat()),
            sequence(&[integer(r), integer(s), vec![5, 0]].concat()),
            long_form,
            raw,
            Vec::new(),
        ] {
            assert!(!public.verifies(b"hello", &other), "{other:02x?}");
        }
    }

    #[test]
    fn points_that_are_none_and_other_forms_of_a_point_are_refused() {
        let spki = PublicKey::from_pem(P256_PEM).unwrap().to_spki();
        let mut off_curve = spki.clone();
        off_curve[90] ^= 1;
        assert!(matches!(
            PublicKey::from_spki(&off_curve),
            Err(KeyError::Point {
                algorithm: Algorithm::EcdsaP256
            })
        ));
        let point = &spki[26..];
        let compressed = [&[2 + (point[64] & 1)], &point[1..33]].concat();
        assert!(matches!(PublicKey::from_p256(&compressed), Err(KeyError::Form)));
        assert!(matches!(PublicKey::from_p256(&[0]), Err(KeyError::Form)));
        let private = P256_PEM.replace("PUBLIC", "PRIVATE");
        assert!(
            PublicKey::from_pem(&private)
                .unwrap_err()
                .hint()
                .unwrap()
                .contains("never")
        );
    }

    #[test]
    fn debug_output_keeps_the_secret() {
        let text = format!("{:?} {:?}", key(), key().to_pem());
        assert!(
            !text.contains("4ccd") && !text.contains("BEGIN") && !text.contains("TM0I"),
            "{text}"
        );
    }
}
