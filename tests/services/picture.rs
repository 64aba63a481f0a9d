//! Files to upload, honest and otherwise, and the multipart bodies that carry
//! them: written here, so that they can be wrong.

/// What multipart bodies are cut by.
const BOUNDARY: &str = "------------------------d74496d66958873e";

/// A kind of image: what the server calls it, and one of it.
pub struct Kind {
    /// How keys of it end.
    pub extension: &'static str,
    /// Its media type.
    pub content_type: &'static str,
    /// A small one.
    pub file: Vec<u8>,
}

/// One of each.
pub fn kinds() -> [Kind; 5] {
    let kind = |extension, content_type, file| Kind {
        extension,
        content_type,
        file,
    };
    [
        kind("png", "image/png", png()),
        kind("jpg", "image/jpeg", jpeg()),
        kind("gif", "image/gif", gif()),
        kind("webp", "image/webp", webp()),
        kind("avif", "image/avif", avif()),
    ]
}

/// A PNG of one grey pixel.
pub fn png() -> Vec<u8> {
    [
        b"\x89PNG\r\n\x1a\n".as_slice(),
        b"\0\0\0\x0dIHDR\0\0\0\x01\0\0\0\x01\x08\0\0\0\0\x3a\x7e\x9b\x55",
        b"\0\0\0\x0aIDAT\x78\x9c\x63\x68\0\0\0\x82\0\x81\x77\xcd\x72\xb6",
        b"\0\0\0\0IEND\xae\x42\x60\x82",
    ]
    .concat()
}

/// The same with so many bytes in all: what follows the end of an image is
/// looked at by nobody.
pub fn png_of(bytes: usize) -> Vec<u8> {
    let mut file = png();
    file.resize(bytes, b'a');
    file
}

/// The same with something behind it that is an HTML page, should a browser
/// guess.
pub fn polyglot() -> Vec<u8> {
    let mut file = png();
    file.extend_from_slice(b"<html><script>alert(document.domain)</script>");
    file
}

fn jpeg() -> Vec<u8> {
    [
        b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0".as_slice(),
        b"\xff\xdb\0\x43\0",
        &[1; 64],
        b"\xff\xc0\0\x0b\x08\0\x01\0\x01\x01\x01\x11\0",
        b"\xff\xda\0\x08\x01\x01\0\0\x3f\0\x2a\xff\xd9",
    ]
    .concat()
}

fn gif() -> Vec<u8> {
    b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff\x2c\0\0\0\0\x01\0\x01\0\0\x02\x02\x44\x01\0\x3b"
        .to_vec()
}

fn webp() -> Vec<u8> {
    b"RIFF\x1a\0\0\0WEBPVP8L\x0d\0\0\0\x2f\0\0\0\x10\x07\x10\x11\x11\x88\x88\xfe\x07\0".to_vec()
}

fn avif() -> Vec<u8> {
    [
        b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf".as_slice(),
        b"\0\0\0\x0cmeta\0\0\0\0",
    ]
    .concat()
}

/// A multipart body under way.
#[derive(Default)]
pub struct Form {
    bytes: Vec<u8>,
}

impl Form {
    /// One with a file as browsers send it.
    pub fn with_file(file: &[u8]) -> Self {
        Self::default().file("file", "cover.png", "image/png", file)
    }

    /// A file more.
    pub fn file(self, field: &str, name: &str, content_type: &str, content: &[u8]) -> Self {
        let head = format!(
            "Content-Disposition: form-data; name=\"{field}\"; filename=\"{name}\"\r\n\
             Content-Type: {content_type}\r\n"
        );
        self.part(&head, content)
    }

    /// A field of text more.
    pub fn text(self, field: &str, text: &str) -> Self {
        let head = format!("Content-Disposition: form-data; name=\"{field}\"\r\n");
        self.part(&head, text.as_bytes())
    }

    /// A part with this head.
    pub fn part(mut self, head: &str, content: &[u8]) -> Self {
        let begins = format!("--{BOUNDARY}\r\n{head}\r\n");
        self.bytes.extend_from_slice(begins.as_bytes());
        self.bytes.extend_from_slice(content);
        self.bytes.extend_from_slice(b"\r\n");
        self
    }

    /// The whole body.
    pub fn end(mut self) -> Vec<u8> {
        let end = format!("--{BOUNDARY}--\r\n");
        self.bytes.extend_from_slice(end.as_bytes());
        self.bytes
    }

    /// What there is of it, without an end.
    pub fn unended(self) -> Vec<u8> {
        self.bytes
    }
}

/// Its `content-type`.
pub fn content_type() -> String {
    format!("multipart/form-data; boundary={BOUNDARY}")
}
