//! Times as people write them on the command line. Everything is UTC.

use std::str::FromStr;
use std::time::Duration;

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// A time, a day, or so long ago.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// `2026-03-03T10:02:00Z`, or with another offset; `2026-03-03 10:02:07` in UTC.
    At(Timestamp),
    /// `2026-03-03 10:02`: the whole minute, in UTC, as tables show it.
    Minute(Timestamp),
    /// `2026-03-03`: the whole day, in UTC.
    Day(Date),
    /// `3d`, `2h`: as long before now.
    Ago(SignedDuration),
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!("`{text}` is not a time: 2026-03-03T10:02:00Z, 2026-03-03, or 3d and 2h for as long ago")
        };
        if let Ok(date) = text.parse::<Date>().map_err(|_| ()).and_then(|date| {
            let is_date = text.len() == 10;
            is_date.then_some(date).ok_or(())
        }) {
            return Ok(Self::Day(date));
        }
        if let Some(ago) = ago(text) {
            return Ok(Self::Ago(ago));
        }
        if let Ok(at) = text.parse::<Timestamp>() {
            return Ok(Self::At(at));
        }
        // Without an offset it is what our tables show.
        let at = text.parse::<DateTime>().map_err(|_| wrong())?;
        let is_minute = text.len() == "2026-03-03 10:02".len();
        let moment = if is_minute { Self::Minute } else { Self::At };
        utc(at).map(moment).ok_or_else(wrong)
    }
}

/// `90s`, `90m`, `2h`, `3d`, `2w`, also with ` ago` behind it.
fn ago(text: &str) -> Option<SignedDuration> {
    let text = text.strip_suffix(" ago").unwrap_or(text);
    // A century is longer ago than any ledger.
    let seconds = seconds(text, 100)?;
    Some(SignedDuration::from_secs(seconds.into()))
}

/// How long something may take or last: `30s`, `90m`, `24h`, `7d`; from a second to ten years.
#[must_use]
pub fn duration(text: &str) -> Option<Duration> {
    let seconds = seconds(text, 10).filter(|seconds| *seconds > 0 && !text.ends_with('w'))?;
    Some(Duration::from_secs(seconds.into()))
}

/// A number of seconds, minutes, hours, days or weeks, in seconds; at most as much as so many `years`.
fn seconds(text: &str, years: u64) -> Option<u32> {
    let unit = text.chars().next_back()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 24 * 3600,
        'w' => 7 * 24 * 3600,
        _ => return None,
    };
    let digits = text.strip_suffix(unit)?;
    let is_number = digits.bytes().all(|b| b.is_ascii_digit());
    let number: u64 = digits.parse().ok().filter(|_| is_number)?;
    let seconds = number.checked_mul(seconds)?;
    let seconds = (seconds <= years * 366 * 24 * 3600).then_some(seconds)?;
    u32::try_from(seconds).ok()
}

fn utc(at: DateTime) -> Option<Timestamp> {
    TimeZone::UTC.to_timestamp(at).ok()
}

impl Moment {
    /// Its first second; `now` for what is so long ago.
    #[must_use]
    pub fn first(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(at) | Self::Minute(at) => at,
            Self::Day(day) => utc(day.to_datetime(Time::midnight())).unwrap_or(Timestamp::MIN),
            Self::Ago(ago) => now.checked_sub(ago).unwrap_or(Timestamp::MIN),
        }
    }

    /// Its last second: of a day, the one before midnight; of a minute, its fifty-ninth.
    #[must_use]
    pub fn last(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Day(day) => utc(day.at(23, 59, 59, 0)).unwrap_or(Timestamp::MAX),
            Self::Minute(at) => at
                .checked_add(SignedDuration::from_secs(59))
                .unwrap_or(Timestamp::MAX),
            Self::At(_) | Self::Ago(_) => self.first(now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (String, String) {
        let now: Timestamp = "2026-11-21T10:00:00Z".parse().unwrap();
        let moment: Moment = text.parse().unwrap();
        (moment.first(now).to_string(), moment.last(now).to_string())
    }

    #[test]
    fn times_days_and_so_long_ago() {
        let same = |text: &str, at: &str| assert_eq!(read(text), (at.to_owned(), at.to_owned()), "{text}");
        same("2026-03-03T10:02:00Z", "2026-03-03T10:02:00Z");
        same("2026-03-03T10:02:00+02:00", "2026-03-03T08:02:00Z");
        same("2026-03-03T10:02:07", "2026-03-03T10:02:07Z");
        same("2h", "2026-11-21T08:00:00Z");
        same("3d ago", "2026-11-18T10:00:00Z");
        same("1w", "2026-11-14T10:00:00Z");
        let minute = (
            "2026-03-03T10:02:00Z".to_owned(),
            "2026-03-03T10:02:59Z".to_owned(),
        );
        assert_eq!(read("2026-03-03 10:02"), minute);
        assert_eq!(read("2026-03-03T10:02"), minute);
        let day = (
            "2026-03-03T00:00:00Z".to_owned(),
            "2026-03-03T23:59:59Z".to_owned(),
        );
        assert_eq!(read("2026-03-03"), day);
    }

    #[test]
    fn how_long_is_a_number_and_a_unit() {
        let days = |days: u64| Some(Duration::from_secs(days * 24 * 3600));
        assert_eq!(duration("1s"), Some(Duration::from_secs(1)));
        assert_eq!((duration("24h"), duration("3660d")), (days(1), days(3660)));
        for text in [
            "0s",
            "s",
            "",
            "1",
            "1.5h",
            "+1s",
            "99999999999999999999s",
            "3661d",
            "1w",
            "1ä",
        ] {
            assert_eq!(duration(text), None, "{text}");
        }
        assert_eq!(seconds("5228w", 100), Some(5228 * 7 * 24 * 3600));
        assert_eq!(seconds("5229w", 100), None);
    }

    #[test]
    fn what_is_no_time_is_refused_with_an_example() {
        for text in [
            "",
            "yesterday",
            "3",
            "d",
            "-3d",
            "3 d",
            "2026-13-01",
            "2026-02-30",
            "1e3d",
            "99999999999999w",
            "03/03/2026",
        ] {
            let refused = text.parse::<Moment>();
            assert!(
                refused.as_ref().is_err_and(|error| error.contains("2026-03-03")),
                "{text}: {refused:?}"
            );
        }
    }
}
