//! What is an image.

use super::*;

#[test]
fn kinds_are_told_by_content_alone() {
    let riff = |chunk: &[u8]| [b"RIFF\x18\0\0\0WEBP", chunk, &[0; 20]].concat();
    for (beginning, kind) in [
        (b"\xFF\xD8\xFF\xE0\0\x10JFIF\0\x01\x01".to_vec(), Kind::Jpeg),
        (b"\xFF\xD8\xFF\xE1\x20\x10Exif\0\0".to_vec(), Kind::Jpeg),
        (b"\xFF\xD8\xFF\xDB\0\x43\0".to_vec(), Kind::Jpeg),
        (png(), Kind::Png),
        (riff(b"VP8 "), Kind::Webp),
        (riff(b"VP8L"), Kind::Webp),
        (riff(b"VP8X"), Kind::Webp),
        (
            b"GIF89a\x01\0\x01\0\x80\0\0\xFF\xFF\xFF".to_vec(),
            Kind::Gif,
        ),
        (b"GIF87a\x01\0\x01\0\x80\0\0\xFF".to_vec(), Kind::Gif),
        (
            b"\0\0\0\x1Cftypavif\0\0\0\0avifmif1miaf\0\0".to_vec(),
            Kind::Avif,
        ),
        (
            b"\0\0\0\x20ftypmif1\0\0\0\0mif1avifmiafMA1B".to_vec(),
            Kind::Avif,
        ),
        // What follows is anybody's; it is delivered as this kind.
        (
            b"GIF89a\x01\0\x01\0\x80\0\0<script>alert(1)</script>".to_vec(),
            Kind::Gif,
        ),
    ] {
        assert_eq!(Kind::of(&beginning, 64), Some(kind), "{beginning:?}");
    }
    for beginning in [
        &b""[..],
        b"<svg xmlns=\"http://www.w3.org/2000/svg\" onload=\"alert(1)\"/>",
        b"<?xml version=\"1.0\"?><svg/>",
        b"<!doctype html><script>alert(1)</script>",
        b"GIF89a",
        b"GIF89a/*<svg/onload=alert(1)>*/=1".split_at(13).0,
        b"GIF89a\0\0\0\0\0\0\0\0\0\0",
        b"\x89PNG\r\n\x1A\n<html><script>alert(1)</script></html>    ",
        b"\x89PNG\r\n\x1A\n\0\0\0\x0DIHDR\0\0\0\0\0\0\0\x01\x08\x06\0\0\0",
        b"\x89PNG\r\n\x1A\n\0\0\0\x0DIHDR\0\0\0\x01\0\0\0\x01\x07\x06\0\0\0",
        b"\xFF\xD8\xFF",
        b"\xFF\xD8\xFF<script>alert(1)</script>",
        b"\xFF\xD8\xFF\xE0\0\0<script>",
        b"RIFF<script>alert(1)</script>",
        b"RIFF\xFF\xFF\xFF\x7FWEBPVP8 <script>",
        b"RIFF\x18\0\0\0WAVEfmt ",
        b"RIFF\x18\0\0\0WEBP<scr",
        b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom",
        b"\0\0\0\x18ftypheic\0\0\0\0heicmif1",
        b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic",
        b"\x3C\x68\x74\x6Dftypavif",
        b"BM\x3A\0\0\0\0\0\0\0\x36\0\0\0",
        b"%PDF-1.7\n",
        b"PK\x03\x04",
    ] {
        let bytes = beginning.len() as u64;
        assert_eq!(Kind::of(beginning, bytes), None, "{beginning:?}");
    }
}

#[test]
fn no_beginning_panics() {
    let mut random = fastrand::Rng::with_seed(3);
    let whole = [
        png(),
        b"\0\0\0\x20ftypmif1\0\0\0\0mif1avifmiafMA1B".to_vec(),
        b"RIFF\x18\0\0\0WEBPVP8 ".to_vec(),
    ];
    for bytes in &whole {
        for end in 0..bytes.len() {
            let _ = Kind::of(&bytes[..end], 64);
        }
    }
    for _ in 0..20_000 {
        let mut bytes = whole[random.usize(..whole.len())].clone();
        let at = random.usize(..bytes.len());
        bytes[at] = random.u8(..);
        let _ = Kind::of(&bytes, random.u64(..));
    }
}
