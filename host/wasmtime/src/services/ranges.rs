//! `Range`, where the library that sends files is stricter than HTTP.

use hyper::header::HeaderValue;

/// The longest number, in digits: all that is longer is none.
const DIGITS_MAX: usize = 15;

/// Whether it is one range of bytes, as browsers ask for it. What is none, or
/// several, is passed over (RFC 9110, 14.2).
#[must_use]
pub fn is_one(range: &HeaderValue) -> bool {
    let Some((first, last)) = bytes(range).and_then(|it| it.split_once('-')) else {
        return false;
    };
    match (number(first), number(last)) {
        (Some(first), Some(last)) => first <= last,
        (Some(_), None) => last.is_empty(),
        (None, Some(_)) => first.is_empty(),
        (None, None) => false,
    }
}

/// How many bytes of a file's end are asked for, if that is what is.
#[must_use]
pub fn suffix(range: &HeaderValue) -> Option<u64> {
    number(bytes(range)?.strip_prefix('-')?)
}

fn bytes(range: &HeaderValue) -> Option<&str> {
    range.to_str().ok()?.strip_prefix("bytes=")
}

fn number(text: &str) -> Option<u64> {
    let is_number = text.len() <= DIGITS_MAX && text.bytes().all(|it| it.is_ascii_digit());
    text.parse().ok().filter(|_| is_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i7_only_one_range_of_bytes_is_one() {
        for (range, is_range, of_end) in [
            ("bytes=0-0", true, None),
            ("bytes=5-", true, None),
            ("bytes=-5", true, Some(5)),
            ("bytes=-0", true, Some(0)),
            ("bytes=5-4", false, None),
            ("bytes=-", false, None),
            ("bytes=+1-2", false, None),
            ("bytes=1-x", false, None),
            ("bytes=x-1", false, None),
            ("bytes=0-1,4-5", false, None),
            ("bytes=--5", false, None),
            ("bytes=1111111111111111-", false, None),
            ("lines=0-1", false, None),
            ("bytes", false, None),
            ("", false, None),
        ] {
            let value = HeaderValue::from_static(range);
            assert_eq!(
                (is_one(&value), suffix(&value)),
                (is_range, of_end),
                "{range}"
            );
        }
    }
}
