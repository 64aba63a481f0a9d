//! When a call of the upstream is made again: before its answer began, at
//! most twice, later each time, and not all at the same time.

use crate::clock;
use crate::imports::Imports;

/// Calls of one relay.
const TRIES_MAX: u32 = 3;

/// The first pause is at most so long, the next one twice that.
const PAUSE_MS: u64 = 500;

/// A pause that the upstream asks for is made if it is at most so long; a
/// client that waits longer had better know.
const RETRY_AFTER_MS_MAX: u64 = 5_000;

/// The longest pause that a client is told of: a day.
const TOLD_MS_MAX: u64 = 24 * 60 * 60 * 1_000;

/// What a client is told where the upstream says nothing.
const TOLD_MS: u64 = 5_000;

/// Whether there is another try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// After so many milliseconds.
    After(u64),
    /// No. It is worth the client's while in so many.
    Not {
        /// In milliseconds.
        retry_after_ms: u64,
    },
}

/// Whether there is another after so many tries, `asked_ms` being the pause
/// that the upstream asks for, and `until_ms` when all has to be over.
pub fn again(
    imports: &mut impl Imports,
    tries: u32,
    asked_ms: Option<u64>,
    until_ms: u64,
) -> Again {
    let not = Again::Not {
        retry_after_ms: asked_ms.unwrap_or(TOLD_MS).min(TOLD_MS_MAX),
    };
    if tries >= TRIES_MAX || asked_ms.is_some_and(|asked| asked > RETRY_AFTER_MS_MAX) {
        return not;
    }
    let most = PAUSE_MS << tries.saturating_sub(1).min(TRIES_MAX);
    let pause = asked_ms.unwrap_or(0) + most / 2 + jitter(imports, most / 2);
    if clock::milliseconds(imports).saturating_add(pause) >= until_ms {
        return not;
    }
    Again::After(pause)
}

/// A random part of so many milliseconds.
fn jitter(imports: &mut impl Imports, most: u64) -> u64 {
    let mut random = [0; 4];
    imports.random(&mut random);
    u64::from(u32::from_le_bytes(random)) % most.saturating_add(1)
}

/// The pause that an answer asks for, by `retry-after-ms` (Azure, OpenAI) or
/// `retry-after`: seconds, or a date (RFC 9110, 10.2.3).
pub fn asked_ms(imports: &mut impl Imports, headers: &[(String, String)]) -> Option<u64> {
    let header = |name: &str| {
        let mut all = headers.iter();
        let (_, value) = all.find(|(it, _)| it.eq_ignore_ascii_case(name))?;
        Some(value.trim())
    };
    if let Some(ms) = header("retry-after-ms").and_then(number) {
        return Some(ms);
    }
    let value = header("retry-after")?;
    if let Some(seconds) = number(value) {
        return Some(seconds.saturating_mul(1_000));
    }
    let at = date_seconds(value)?.saturating_mul(1_000);
    Some(at.saturating_sub(clock::milliseconds(imports)))
}

fn number(digits: &str) -> Option<u64> {
    if digits.is_empty() || !digits.bytes().all(|it| it.is_ascii_digit()) {
        return None;
    }
    Some(digits.parse().unwrap_or(u64::MAX))
}

/// An HTTP date, `Sun, 06 Nov 1994 08:49:37 GMT`, in seconds since 1970.
fn date_seconds(text: &str) -> Option<u64> {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let (_, text) = text.split_once(", ")?;
    let mut words = text.split(' ');
    let (day, month, year) = (words.next()?, words.next()?, words.next()?);
    let mut time = words.next()?.split(':');
    let mut part = |max: u64| time.next().and_then(number).filter(|it| *it <= max);
    let (hour, minute, second) = (part(23)?, part(59)?, part(60)?);
    if words.next() != Some("GMT") || month.len() != 3 {
        return None;
    }
    let month = u64::try_from(MONTHS.find(month)?).ok()? / 3 + 1;
    let (day, year) = (number(day)?, number(year)?);
    if !(1..=31).contains(&day) || !(1970..=9999).contains(&year) {
        return None;
    }
    // Years begin in March, so that the day that leap years add is their last.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day;
    // 1970-01-01 is the day 719,469 of this count.
    let days = days.checked_sub(719_469)?;
    Some(days * 86_400 + hour * 3_600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::services::fake_host::FakeHost;

    fn asked(headers: &[(&str, &str)]) -> Option<u64> {
        let headers: Vec<(String, String)> = headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        asked_ms(&mut FakeHost::new(&[]), &headers)
    }

    #[test]
    fn the_upstream_says_when() {
        for (date, seconds) in [
            ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
            ("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777),
            ("Tue, 29 Feb 2000 23:59:59 GMT", 951_868_799),
            ("Tue, 14 Nov 2023 22:13:27 GMT", 1_700_000_007),
        ] {
            assert_eq!(date_seconds(date), Some(seconds), "{date}");
        }
        assert_eq!(asked(&[("retry-after", "3")]), Some(3_000));
        assert_eq!(
            asked(&[("Retry-After", "Tue, 14 Nov 2023 22:13:27 GMT")]),
            Some(7_000)
        );
        assert_eq!(
            asked(&[("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT")]),
            Some(0)
        );
        assert_eq!(
            asked(&[("retry-after", "9"), ("retry-after-ms", "250")]),
            Some(250)
        );
        assert_eq!(
            asked(&[("retry-after", "99999999999999999999999")]),
            Some(u64::MAX)
        );
        for junk in [
            "",
            "-1",
            "1.5",
            "soon",
            "Sun, 06 Nov 1994",
            "Sun, 06 Nov 1994 08:49:37 CET",
            "Sun, 99 Nov 1994 08:49:37 GMT",
            "Sun, 06 nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 99999999999999999999 08:49:37 GMT",
            ", , , :: ",
        ] {
            assert_eq!(asked(&[("retry-after", junk)]), None, "{junk}");
        }
    }

    #[test]
    fn pauses_grow_and_differ_and_end() {
        let mut host = FakeHost::new(&[]);
        let mut pauses = |tries, asked| -> Vec<u64> {
            (0..200)
                .filter_map(|_| match again(&mut host, tries, asked, u64::MAX) {
                    Again::After(ms) => Some(ms),
                    Again::Not { .. } => None,
                })
                .collect()
        };
        for (tries, asked, range) in [
            (1, None, 250..=500),
            (2, None, 500..=1_000),
            (1, Some(5_000), 5_250..=5_500),
        ] {
            let pauses = pauses(tries, asked);
            assert_eq!(pauses.len(), 200);
            assert!(pauses.iter().all(|ms| range.contains(ms)), "{pauses:?}");
            assert!(
                pauses
                    .iter()
                    .any(|ms| *ms != pauses.iter().copied().fold(0, u64::max))
            );
        }
        assert!(pauses(3, None).is_empty());
        assert!(pauses(1, Some(5_001)).is_empty());
        let told = |host: &mut FakeHost, asked| again(host, 3, asked, u64::MAX);
        let not = |retry_after_ms| Again::Not { retry_after_ms };
        assert_eq!(told(&mut host, Some(u64::MAX)), not(86_400_000));
        assert_eq!(told(&mut host, Some(60_000)), not(60_000));
        assert_eq!(told(&mut host, None), not(5_000));
        let now = clock::milliseconds(&mut host);
        assert_eq!(again(&mut host, 1, None, now + 100), not(5_000));
    }
}
