//! Whether a client has an image already, and which part of it it wants (RFC
//! 9110, 13 and 14).

/// The longest `Range` that is looked at: a single one is far shorter.
const RANGE_BYTES_MAX: usize = 128;

/// Which bytes a `Range` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// All of them: no range, several, or none that is understood.
    All,
    /// So many from there on.
    Part {
        /// The first byte.
        start: u64,
        /// How many.
        length: u64,
    },
    /// Some that there are not.
    Beyond,
}

/// Whether an `If-None-Match` names an entity tag, compared weakly (13.1.2).
#[must_use]
pub fn names(if_none_match: &str, etag: &str) -> bool {
    if if_none_match.trim() == "*" {
        return true;
    }
    // No tag of ours has a comma in it, so that a foreign one which has is
    // none of ours, however it is cut.
    let mut tags = if_none_match.split(',').map(str::trim);
    tags.any(|tag| tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

/// What a `Range` asks for of so many bytes.
#[must_use]
pub fn wanted(range: &str, bytes: u64) -> Wanted {
    parse(range, bytes).unwrap_or(Wanted::All)
}

fn parse(range: &str, bytes: u64) -> Option<Wanted> {
    if range.len() > RANGE_BYTES_MAX {
        return None;
    }
    let (unit, set) = range.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (first, last) = set.trim().split_once('-')?;
    let (start, end) = match (first, last) {
        ("", last) => {
            let length = number(last)?;
            if length == 0 {
                return Some(Wanted::Beyond);
            }
            (bytes.saturating_sub(length), bytes)
        }
        (first, "") => (number(first)?, bytes),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            if first > last {
                return None;
            }
            (first, last.saturating_add(1).min(bytes))
        }
    };
    Some(match end.checked_sub(start) {
        Some(length @ 1..) => Wanted::Part { start, length },
        _ => Wanted::Beyond,
    })
}

/// Digits only; more than there can be bytes is as many as there can be.
fn number(digits: &str) -> Option<u64> {
    if digits.is_empty() || !digits.bytes().all(|it| it.is_ascii_digit()) {
        return None;
    }
    Some(digits.parse().unwrap_or(u64::MAX))
}
