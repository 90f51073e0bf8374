//! Certificates that are their own authority.
//!
//! `openssl req -x509` makes one that says to be an authority (`CA:TRUE`), and many private registries come with it. By the
//! rules of certificate chains a server must not; who names exactly this certificate as one to be trusted means it all the same,
//! as in docker, podman and everything else that is written in Go. Its names and its time are checked as ever.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};

/// Believes what another verifier believes, and servers whose certificate is one of these.
#[derive(Debug)]
pub(super) struct Pinned {
    pub(super) others: Arc<dyn ServerCertVerifier>,
    pub(super) certificates: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let others =
            self.others
                .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        let is_pinned = self.certificates.iter().any(|pinned| pinned == end_entity);
        if others.is_ok() || !is_pinned {
            return others;
        }
        verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
        verify_time(end_entity, now)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.others.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.others.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.others.supported_verify_schemes()
    }
}

fn verify_time(certificate: &[u8], now: UnixTime) -> Result<(), CertificateError> {
    let (not_before, not_after) = validity(certificate).ok_or(CertificateError::BadEncoding)?;
    let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    if now.as_secs() < not_before {
        return Err(CertificateError::NotValidYetContext {
            time: now,
            not_before: at(not_before),
        });
    }
    if now.as_secs() > not_after {
        return Err(CertificateError::ExpiredContext {
            time: now,
            not_after: at(not_after),
        });
    }
    Ok(())
}

/// From when to when a certificate is valid, in seconds since 1970 (RFC 5280, section 4.1).
fn validity(certificate: &[u8]) -> Option<(u64, u64)> {
    const SEQUENCE: u8 = 0x30;
    const INTEGER: u8 = 0x02;
    const VERSION: u8 = 0xa0;
    let (certificate, _) = element(certificate, SEQUENCE)?;
    let (mut rest, _) = element(certificate, SEQUENCE)?;
    if let Some((_, after)) = element(rest, VERSION) {
        rest = after;
    }
    // Serial number, algorithm of the signature, issuer.
    for tag in [INTEGER, SEQUENCE, SEQUENCE] {
        (_, rest) = element(rest, tag)?;
    }
    let (validity, _) = element(rest, SEQUENCE)?;
    let (not_before, rest) = time(validity)?;
    let (not_after, _) = time(rest)?;
    Some((not_before, not_after))
}

/// The content of the first element, which must have this tag, and what comes after it (X.690, section 8.1).
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = bytes.split_first()?;
    let (&length, rest) = rest.split_first()?;
    let (length, rest) = if length < 0x80 {
        (usize::from(length), rest)
    } else {
        let (digits, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
        if digits.len() > 4 {
            return None;
        }
        let length = digits
            .iter()
            .fold(0, |length, digit| length << 8 | u64::from(*digit));
        (usize::try_from(length).ok()?, rest)
    };
    (found == tag).then(|| rest.split_at_checked(length))?
}

/// A `UTCTime` (`YYMMDDHHMMSSZ`) or a `GeneralizedTime` (`YYYYMMDDHHMMSSZ`); those before 1970 count as 1970.
fn time(bytes: &[u8]) -> Option<(u64, &[u8])> {
    const UTC: u8 = 0x17;
    const GENERALIZED: u8 = 0x18;
    let (text, rest, short) = match element(bytes, UTC) {
        Some((text, rest)) => (text, rest, true),
        None => element(bytes, GENERALIZED).map(|(text, rest)| (text, rest, false))?,
    };
    let digits = text.strip_suffix(b"Z")?;
    let (year, digits) = digits.split_at_checked(if short { 2 } else { 4 })?;
    if digits.len() != 10 {
        return None;
    }
    let year = match number(year)? {
        year if !short => year,
        year if year < 50 => 2000 + year,
        year => 1900 + year,
    };
    let mut parts = [0; 5];
    for (part, pair) in parts.iter_mut().zip(digits.chunks(2)) {
        *part = number(pair)?;
    }
    let [month, day, hour, minute, second] = parts;
    let is_date = (1..=12).contains(&month) && (1..=31).contains(&day);
    if !is_date || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let seconds = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    Some((u64::try_from(seconds).unwrap_or(0), rest))
}

fn number(digits: &[u8]) -> Option<i64> {
    let digit = |number: i64, byte: &u8| {
        byte.is_ascii_digit()
            .then(|| number * 10 + i64::from(byte - b'0'))
    };
    digits.iter().try_fold(0, digit)
}

/// Days from 1970-01-01 to a date of the Gregorian calendar. The year begins in March, so that leap days come last.
const fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month < 3 { year - 1 } else { year };
    let month = (month + 9) % 12;
    let in_year = (153 * month + 2) / 5 + day - 1;
    let leap = year / 4 - year / 100 + year / 400;
    year * 365 + leap + in_year - 719_468
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn seconds(tag: u8, text: &str) -> Option<u64> {
        let length = u8::try_from(text.len()).unwrap();
        let bytes = [&[tag, length], text.as_bytes()].concat();
        time(&bytes).map(|(seconds, _)| seconds)
    }

    #[test]
    fn times_are_seconds_since_1970() {
        for (tag, text, expected) in [
            (0x17, "700101000000Z", Some(0)),
            (0x17, "491231235959Z", Some(2_524_607_999)),
            (0x17, "500101000000Z", Some(0)),
            (0x17, "240229120000Z", Some(1_709_208_000)),
            (0x18, "20240301000000Z", Some(1_709_251_200)),
            (0x18, "21000301000000Z", Some(4_107_542_400)),
            (0x18, "20000301000000Z", Some(951_868_800)),
            (0x18, "99991231235959Z", Some(253_402_300_799)),
            (0x17, "241301000000Z", None),
            (0x17, "240100000000Z", None),
            (0x17, "24010100000Z", None),
            (0x17, "2401010000+1Z", None),
            (0x17, "240101000000", None),
            (0x18, "240101000000Z", None),
            (0x16, "240101000000Z", None),
        ] {
            assert_eq!(seconds(tag, text), expected, "{text}");
        }
    }

    #[test]
    fn the_validity_of_a_certificate_is_found_and_broken_ones_are_survived() {
        let mut params = CertificateParams::new(["a.example.org".to_owned()]).unwrap();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2060, 2, 3);
        let der = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let der = der.der().to_vec();
        assert_eq!(validity(&der), Some((1_577_836_800, 2_842_992_000)));
        for end in 0..der.len() {
            assert_eq!(validity(&der[..end]), None);
            let mut broken = der.clone();
            broken[end] ^= 0x85;
            let _whatever = validity(&broken);
        }
    }
}
