//! When to ask again, and how long to wait before that.

use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

use async_trait::async_trait;
use http::header::{DATE, HeaderMap, RETRY_AFTER};
use http::{HeaderName, StatusCode};

use super::host::text;

/// When and how often to ask again: after 408, 429, 500, 502 to 504 and 520 to 524, and after broken connections, where
/// asking twice is the same as asking once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retries {
    /// Most attempts in all, at least 1.
    pub attempts: u32,
    /// Before the second attempt; doubled before each further one. Up to a half of it is taken away at random, so that many
    /// who failed together do not come back together.
    pub first: Duration,
    /// Longest pause. A registry that asks for a longer one (`Retry-After`) is not asked again: it would refuse.
    pub longest: Duration,
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            attempts: 5,
            first: Duration::from_millis(200),
            longest: Duration::from_secs(60),
        }
    }
}

/// How a client waits before it asks again. Tests hand in one that only notes what it was told.
#[async_trait]
pub trait Pauses: fmt::Debug + Send + Sync {
    /// Waits.
    async fn wait(&self, pause: Duration);

    /// A number, every one as probable as every other.
    fn random(&self) -> u32;
}

/// Waits on the machine's clock, and takes its random numbers.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemPauses;

#[async_trait]
impl Pauses for SystemPauses {
    async fn wait(&self, pause: Duration) {
        tokio::time::sleep(pause).await;
    }

    fn random(&self) -> u32 {
        // Without random numbers, all pauses are as long as they may be.
        getrandom::u32().unwrap_or(u32::MAX)
    }
}

/// What goes before the next attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pause {
    /// So long a wait.
    For(Duration),
    /// Nothing: it was asked for a longer wait than anybody has.
    TooLong(Duration),
}

impl Retries {
    /// The wait after attempt number `attempt` (from 1), which ended in an answer with `headers`.
    pub(super) fn pause(&self, attempt: u32, headers: &HeaderMap, random: u32) -> Pause {
        match asked(headers) {
            Some(asked) if asked > self.longest => Pause::TooLong(asked),
            asked => Pause::For(self.back_off(attempt, asked, random)),
        }
    }

    /// The wait after attempt number `attempt` (from 1), if the registry `asked` for one of this length, or for none.
    pub(super) fn back_off(&self, attempt: u32, asked: Option<Duration>, random: u32) -> Duration {
        let doubled = 1 << attempt.saturating_sub(1).min(16);
        let whole = self.first.saturating_mul(doubled).min(self.longest);
        let own = whole / 2 + share(whole / 2, random);
        // Not all who were told the same should come at the same moment.
        asked.map_or(own, |asked| own.max(asked + share(self.first, random)))
    }
}

/// `random` parts in 2³² − 1 of `whole`.
fn share(whole: Duration, random: u32) -> Duration {
    whole.mul_f64(f64::from(random) / f64::from(u32::MAX))
}

/// What `Retry-After` asks for (RFC 9110, section 10.2.3): seconds, or a date, which is compared with the `Date` of
/// the same answer. So no clock of ours need be right.
pub(super) fn asked(headers: &HeaderMap) -> Option<Duration> {
    let value = text(headers, &RETRY_AFTER)?.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let (then, now) = (date(headers, &RETRY_AFTER)?, date(headers, &DATE)?);
    Some(then.saturating_sub(now))
}

fn date(headers: &HeaderMap, name: &HeaderName) -> Option<Duration> {
    let date = httpdate::parse_http_date(text(headers, name)?.trim()).ok()?;
    date.duration_since(UNIX_EPOCH).ok()
}

/// Whether an answer says "not now", and the request surely had no effect. GitHub's registry says it with 403 too.
pub(super) fn is_postponed(status: StatusCode, headers: &HeaderMap) -> bool {
    status == StatusCode::TOO_MANY_REQUESTS
        || (status == StatusCode::FORBIDDEN && headers.contains_key(RETRY_AFTER))
}

/// Whether an answer speaks of a passing trouble, of which it is not known what it left of the request.
pub(super) const fn is_trouble(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 500 | 502..=504 | 520..=524)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const RETRIES: Retries = Retries {
        attempts: 5,
        first: Duration::from_millis(200),
        longest: Duration::from_secs(60),
    };

    fn headers(pairs: &[(HeaderName, &'static str)]) -> HeaderMap {
        let pairs = pairs.iter().cloned();
        pairs
            .map(|(name, value)| (name, HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn c16_pauses_double_with_jitter_up_to_the_longest() {
        let none = HeaderMap::new();
        let pauses = |random| {
            [1, 2, 3, 4, 9, 10, 99].map(|attempt| match RETRIES.pause(attempt, &none, random) {
                Pause::For(pause) => pause.as_millis(),
                Pause::TooLong(_) => panic!("nothing was asked"),
            })
        };
        assert_eq!(pauses(u32::MAX), [200, 400, 800, 1600, 51_200, 60_000, 60_000]);
        assert_eq!(pauses(0), [100, 200, 400, 800, 25_600, 30_000, 30_000]);
    }

    #[test]
    fn c16_retry_after_is_seconds_or_a_date() {
        let now = (DATE, "Fri, 20 Nov 2026 10:00:00 GMT");
        let after = |value| headers(&[(RETRY_AFTER, value), now.clone()]);
        for (value, expected) in [
            ("0", Some(0)),
            (" 7 ", Some(7)),
            ("Fri, 20 Nov 2026 10:00:30 GMT", Some(30)),
            ("Friday, 20-Nov-26 10:00:30 GMT", Some(30)),
            // Over already.
            ("Fri, 20 Nov 2026 09:00:00 GMT", Some(0)),
            ("99999999999999999999999999", Some(u64::MAX)),
            ("-1", None),
            ("1.5", None),
            ("880us", None),
            ("soon", None),
            ("", None),
        ] {
            let expected = expected.map(Duration::from_secs);
            assert_eq!(asked(&after(value)), expected, "{value}");
        }
        let undated = headers(&[(RETRY_AFTER, "Fri, 20 Nov 2026 10:00:30 GMT")]);
        assert_eq!(asked(&undated), None);
    }

    #[test]
    fn c16_no_registry_can_make_us_wait_for_hours() {
        let after = |value| headers(&[(RETRY_AFTER, value)]);
        let hour = Duration::from_secs(3600);
        assert_eq!(RETRIES.pause(1, &after("3600"), 0), Pause::TooLong(hour));
        let minute = Duration::from_secs(60);
        assert_eq!(RETRIES.pause(1, &after("60"), 0), Pause::For(minute));
        assert_eq!(
            RETRIES.pause(1, &after("60"), u32::MAX),
            Pause::For(minute + RETRIES.first)
        );
        // Whoever says 0 each time is left alone for longer and longer all the same.
        assert_eq!(
            RETRIES.pause(4, &after("0"), u32::MAX),
            Pause::For(Duration::from_millis(1600))
        );
    }
}
