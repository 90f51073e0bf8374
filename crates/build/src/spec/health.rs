//! The health check: Docker's extension of the configuration.

use std::time::Duration;

use super::keys::HEALTHCHECK;
use super::values;
use crate::document::{Problem, Section};
use crate::finding::{Finding, Located};

/// The longest time that a health check may name. Docker counts nanoseconds, and canonical JSON is exact up to 2^53.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
/// The most retries.
const RETRIES: i64 = 1000;

/// How to see whether a container works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Healthcheck {
    /// What is run, without a shell; none: no check, not even an inherited one.
    pub test: Option<Vec<String>>,
    /// Time between two checks: at least 1 ms and at most a day, as all times here. Docker's default: 30 s.
    pub interval: Option<Duration>,
    /// How long a check may take. Docker's default: 30 s.
    pub timeout: Option<Duration>,
    /// How long failures do not count at the beginning. Docker's default: 0.
    pub start_period: Option<Duration>,
    /// Time between two checks while failures do not count. Docker's default: 5 s.
    pub start_interval: Option<Duration>,
    /// How many failures in a row make it unhealthy: 1 to 1000. Docker's default: 3.
    pub retries: Option<u32>,
}

pub(super) fn read(config: &Section<'_>) -> Option<Healthcheck> {
    let section = config.table("healthcheck", "`healthcheck`", &HEALTHCHECK.names)?;
    let test = read_test(&section);
    let time = |key| section.parsed(key, duration).map(|time: Located<_>| time.value);
    let check = Healthcheck {
        interval: time("interval"),
        timeout: time("timeout"),
        start_period: time("start-period"),
        start_interval: time("start-interval"),
        retries: read_retries(&section),
        test: None,
    };
    Some(Healthcheck { test: test?, ..check })
}

/// The outer one is missing if there is none that can be used, the inner one for `"NONE"`.
fn read_test(section: &Section<'_>) -> Option<Option<Vec<String>>> {
    if !section.is_list("test") {
        section.required("test", |text| match text {
            "NONE" => Ok(()),
            text => Err(
                Problem::new(format!("`{text}` would need a shell, and `test` has none"))
                    .with_hint("write a list such as [\"/bin/check\", \"--quick\"], or \"NONE\" to switch an inherited check off"),
            ),
        })?;
        return Some(None);
    }
    let test = section.texts("test", values::plain_text)?;
    let test: Vec<_> = test.into_iter().map(|word| word.value).collect();
    if test.is_empty() {
        let span = section.key_span("test").unwrap_or_default();
        section.report(
            Finding::new("`test` is empty", span).with_hint("\"NONE\" switches an inherited check off"),
        );
    }
    Some(Some(test))
}

fn read_retries(section: &Section<'_>) -> Option<u32> {
    let number = section.integer("retries")?;
    match u32::try_from(number.value) {
        Ok(retries) if (1..=RETRIES).contains(&number.value) => Some(retries),
        _ => {
            let message = format!("{} retries are not between 1 and {RETRIES}", number.value);
            section.report(Finding::new(message, number.span));
            None
        }
    }
}

/// Reads `30s`, `1m30s`, `500ms`: numbers with units, the larger ones first or not.
fn duration(text: &str) -> Result<Duration, Problem> {
    let problem = || {
        Problem::new(format!("`{text}` is not a time from 1ms to 24h"))
            .with_hint("write it with its unit: \"30s\", \"1m30s\", \"500ms\"")
    };
    let mut left = text;
    let mut whole = Duration::ZERO;
    while !left.is_empty() {
        let digits = left.bytes().take_while(u8::is_ascii_digit).count();
        let (number, rest) = left.split_at(digits);
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, rest) = rest.split_at(letters);
        let milliseconds: u64 = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(problem()),
        };
        let number: u64 = number.parse().map_err(|_| problem())?;
        let piece = number.checked_mul(milliseconds).ok_or_else(problem)?;
        whole = whole
            .checked_add(Duration::from_millis(piece))
            .ok_or_else(problem)?;
        left = rest;
    }
    if whole.is_zero() || whole > LONGEST {
        return Err(problem());
    }
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        for (text, milliseconds) in [
            ("30s", 30_000),
            ("1m30s", 90_000),
            ("500ms", 500),
            ("24h", 86_400_000),
        ] {
            assert_eq!(
                duration(text).unwrap(),
                Duration::from_millis(milliseconds),
                "{text}"
            );
        }
        for bad in [
            "",
            "0s",
            "30",
            "s",
            "1d",
            "25h",
            "-1s",
            "1.5s",
            "1 s",
            "99999999999999999999s",
            "18446744073709551615h",
        ] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
