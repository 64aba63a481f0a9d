//! What an image is, told by how its content begins. Its name and the type
//! that the client declares are not looked at.

/// A kind of image that is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// ITU-T T.81.
    Jpeg,
    /// The PNG specification, third edition.
    Png,
    /// RFC 9649.
    Webp,
    /// GIF87a, GIF89a.
    Gif,
    /// AV1 in HEIF: ISO/IEC 23000-22.
    Avif,
}

impl Kind {
    /// Each of them.
    pub const ALL: [Self; 5] = [Self::Jpeg, Self::Png, Self::Webp, Self::Gif, Self::Avif];

    /// The kind of a file of so many bytes that begins so; its first 64 bytes
    /// are enough.
    ///
    /// Of each format the header is checked as far as it has fixed values, so
    /// that no text passes for one. What follows is not decoded: it can be
    /// anything, which the headers of `deliver` make harmless.
    #[must_use]
    pub fn of(beginning: &[u8], bytes: u64) -> Option<Self> {
        let is_kind = |kind: &Self| match kind {
            Self::Jpeg => is_jpeg(beginning),
            Self::Png => is_png(beginning),
            Self::Webp => is_webp(beginning, bytes),
            Self::Gif => is_gif(beginning),
            Self::Avif => is_avif(beginning),
        };
        Self::ALL.into_iter().find(is_kind)
    }

    /// Its media type.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
            Self::Webp => "image/webp",
            Self::Gif => "image/gif",
            Self::Avif => "image/avif",
        }
    }

    /// How a key of it ends.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Self::Jpeg => "jpg",
            Self::Png => "png",
            Self::Webp => "webp",
            Self::Gif => "gif",
            Self::Avif => "avif",
        }
    }
}

/// `length` bytes from `start` on.
fn slice(bytes: &[u8], start: usize, length: usize) -> Option<&[u8]> {
    bytes.get(start..)?.get(..length)
}

fn number_be(bytes: &[u8], start: usize, length: usize) -> Option<u64> {
    let digits = slice(bytes, start, length)?;
    Some(
        digits
            .iter()
            .fold(0, |number, digit| number << 8 | u64::from(*digit)),
    )
}

fn number_le(bytes: &[u8], start: usize, length: usize) -> Option<u64> {
    let digits = slice(bytes, start, length)?;
    Some(
        digits
            .iter()
            .rev()
            .fold(0, |number, digit| number << 8 | u64::from(*digit)),
    )
}

/// SOI, and a segment that can come first: an application's, a comment, a
/// table, or a frame; with a length that counts itself.
fn is_jpeg(beginning: &[u8]) -> bool {
    let marker = match beginning {
        [0xFF, 0xD8, 0xFF, marker, ..] => *marker,
        _ => return false,
    };
    let is_first = matches!(marker, 0xE0..=0xEF | 0xFE | 0xDB | 0xC0..=0xC4 | 0xDD);
    is_first && number_be(beginning, 4, 2).is_some_and(|length| length >= 2)
}

/// The signature and a header chunk whose fields have values that they may
/// have.
fn is_png(beginning: &[u8]) -> bool {
    let is_signed = beginning.starts_with(b"\x89PNG\r\n\x1A\n\0\0\0\x0DIHDR");
    let is_side =
        |start| number_be(beginning, start, 4).is_some_and(|it| (1..1 << 31).contains(&it));
    let has_depth = matches!(
        slice(beginning, 24, 5),
        Some(
            [1 | 2 | 4 | 8 | 16, 0, 0, 0, 0 | 1]
                | [8 | 16, 2 | 4 | 6, 0, 0, 0 | 1]
                | [1 | 2 | 4 | 8, 3, 0, 0, 0 | 1]
        )
    );
    is_signed && is_side(16) && is_side(20) && has_depth
}

/// A RIFF of its size with a first chunk of the three that there are.
fn is_webp(beginning: &[u8], bytes: u64) -> bool {
    let is_form = beginning.starts_with(b"RIFF") && slice(beginning, 8, 4) == Some(b"WEBP");
    let is_chunk = matches!(slice(beginning, 12, 4), Some(b"VP8 " | b"VP8L" | b"VP8X"));
    // What it counts begins behind the number; some writers leave out the
    // padding at its end.
    let is_whole = number_le(beginning, 4, 4).is_some_and(|size| size >= 12 && size + 7 <= bytes);
    is_form && is_chunk && is_whole
}

/// The signature and a screen that has a size.
fn is_gif(beginning: &[u8]) -> bool {
    let is_signed = beginning.starts_with(b"GIF87a") || beginning.starts_with(b"GIF89a");
    let is_side = |start| number_le(beginning, start, 2).is_some_and(|side| side > 0);
    // The screen descriptor has 7 bytes, and something follows it.
    is_signed && is_side(6) && is_side(8) && beginning.len() > 13
}

/// A file type box that names AVIF among its brands, as the first or as a
/// compatible one of a HEIF.
fn is_avif(beginning: &[u8]) -> bool {
    if slice(beginning, 4, 4) != Some(b"ftyp") {
        return false;
    }
    let Some(size @ 16..=512) = number_be(beginning, 0, 4) else {
        return false;
    };
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    let is_own = |brand: &[u8]| matches!(brand, b"avif" | b"avis");
    let compatible = slice(beginning, 16, size.min(beginning.len()).saturating_sub(16));
    match slice(beginning, 8, 4) {
        Some(b"avif" | b"avis") => size % 4 == 0,
        Some(b"mif1" | b"msf1" | b"miaf") => {
            size % 4 == 0 && compatible.is_some_and(|brands| brands.chunks(4).any(is_own))
        }
        _ => false,
    }
}
