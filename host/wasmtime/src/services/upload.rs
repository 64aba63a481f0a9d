//! A file that is uploaded, as `multipart/form-data`: read within its limits,
//! in bytes, parts and time.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use hmac_sha256::Hash;
use hyper::body::Body;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use multer::{Constraints, Field, Multipart, SizeLimit};

use crate::contract::images::{File, Parts, UploadError};
use crate::contract::services::Upload;
use crate::exchange::answer::BrokenOff;
use crate::flow::intake::{Reservation, Share};
use crate::process::patience;

/// What a body may have beside its file, in bytes: boundaries, headers and
/// fields of text.
const BESIDE_BYTES_MAX: u64 = 64 * 1024;

/// Of a field of text, in bytes.
const TEXT_BYTES_MAX: usize = 1_024;

/// Of a file's beginning, in bytes: what tells its type.
const BEGINNING_BYTES: usize = 64;

/// Of a part's head, in bytes. The parser itself takes no more than 32 headers.
const HEAD_BYTES_MAX: usize = 8 * 1024;

/// Of a boundary, in bytes (RFC 2046, 5.1.1).
const BOUNDARY_BYTES_MAX: usize = 70;

/// An upload that was read.
pub struct Uploaded {
    /// What the guest is shown.
    pub parts: Parts,
    /// The file.
    pub bytes: Bytes,
    /// The memory that it takes.
    pub reservation: Reservation,
}

/// Reads an upload. Its time passes while it arrives, not while it waits for
/// memory.
///
/// # Errors
/// Why it is none.
pub async fn read<B>(
    upload: &Upload,
    headers: &HeaderMap,
    mut body: B,
    share: Arc<Share>,
    time_max: Duration,
) -> Result<Uploaded, UploadError>
where
    B: Body<Data = Bytes, Error: Into<BrokenOff>> + Send + Unpin + 'static,
{
    let boundary = boundary(headers).ok_or(UploadError::Malformed)?;
    let bytes_max = u64::from(upload.file_bytes_max) + BESIDE_BYTES_MAX;
    let announced = body.size_hint().exact();
    if announced.is_some_and(|bytes| bytes > bytes_max) {
        return Err(UploadError::TooLarge);
    }
    let bytes = announced.unwrap_or(bytes_max);
    let bytes = usize::try_from(bytes).map_err(|_| UploadError::TooLarge)?;
    let reservation = share.reserve(bytes).await.ok_or(UploadError::Busy)?;
    // No part is larger than the file may be.
    let limits = SizeLimit::new()
        .whole_stream(bytes_max)
        .per_field(upload.file_bytes_max.into());
    let constraints = Constraints::new().size_limit(limits);
    let pieces = Pieces {
        body: &mut body,
        rests: false,
    };
    let mut reading = Reading {
        upload,
        multipart: Multipart::with_constraints(pieces, boundary, constraints),
        file_bytes_expected: bytes.min(upload.file_bytes_max as usize),
        file: None,
        texts: Vec::new(),
    };
    let is_read = patience::timeout(time_max, reading.read()).await;
    is_read.ok_or(UploadError::TooSlow)??;
    let (file, bytes) = reading.file.unzip();
    let texts = reading.texts;
    Ok(Uploaded {
        parts: Parts { file, texts },
        bytes: bytes.unwrap_or_default(),
        reservation,
    })
}

/// What cuts a body's parts off; nothing if it is none.
fn boundary(headers: &HeaderMap) -> Option<String> {
    let content_type = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let boundary = multer::parse_boundary(content_type).ok()?;
    let is_one = (1..=BOUNDARY_BYTES_MAX).contains(&boundary.len())
        && boundary.bytes().all(|it| (b' '..=b'~').contains(&it))
        && !boundary.ends_with(' ');
    is_one.then_some(boundary)
}

/// A multipart body that is being read.
struct Reading<'a, 'b> {
    upload: &'a Upload,
    multipart: Multipart<'b>,
    file_bytes_expected: usize,
    /// The file and its content.
    file: Option<(File, Bytes)>,
    texts: Vec<(String, String)>,
}

impl Reading<'_, '_> {
    async fn read(&mut self) -> Result<(), UploadError> {
        let mut parts = 0;
        while let Some(field) = self.multipart.next_field().await.map_err(refused)? {
            parts += 1;
            if parts > self.upload.parts_max || !is_head(field.headers()) {
                return Err(UploadError::Malformed);
            }
            let name = field.name().unwrap_or_default().to_owned();
            if name == self.upload.field && self.file.is_none() {
                self.read_file(field).await?;
            } else if self.upload.text_fields.contains(&name)
                && !self.texts.iter().any(|(it, _)| *it == name)
            {
                let text = read_text(field).await?;
                self.texts.push((name, text));
            }
            // The rest of a part is passed over with the next.
        }
        Ok(())
    }

    async fn read_file(&mut self, mut field: Field<'_>) -> Result<(), UploadError> {
        let mut file = File {
            bytes: 0,
            beginning: Vec::new(),
            sha256: String::new(),
            name: field.file_name().map(str::to_owned),
        };
        let mut all = BytesMut::with_capacity(self.file_bytes_expected);
        let mut hash = Hash::new();
        while let Some(piece) = field.chunk().await.map_err(refused)? {
            hash.update(&piece);
            all.extend_from_slice(&piece);
        }
        file.bytes = all.len() as u64;
        file.beginning = beginning(&all);
        file.sha256 = hexadecimal(&hash.finalize());
        self.file = Some((file, all.freeze()));
        Ok(())
    }
}

/// Whether a part's head is one: in bytes, and in text.
fn is_head(headers: &HeaderMap) -> bool {
    let bytes = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() + 4;
    headers.iter().map(bytes).sum::<usize>() <= HEAD_BYTES_MAX
        && headers
            .values()
            .all(|value| std::str::from_utf8(value.as_bytes()).is_ok())
}

async fn read_text(mut field: Field<'_>) -> Result<String, UploadError> {
    let mut text = Vec::new();
    while text.len() < TEXT_BYTES_MAX
        && let Some(piece) = field.chunk().await.map_err(refused)?
    {
        let left = TEXT_BYTES_MAX - text.len();
        text.extend(piece.into_iter().take(left));
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn refused(error: multer::Error) -> UploadError {
    match error {
        multer::Error::StreamSizeExceeded { .. } | multer::Error::FieldSizeExceeded { .. } => {
            UploadError::TooLarge
        }
        _ => UploadError::Malformed,
    }
}

fn beginning(bytes: &[u8]) -> Vec<u8> {
    bytes.get(..BEGINNING_BYTES).unwrap_or(bytes).to_vec()
}

fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A body's pieces, one at a time: the parser would take all that has come
/// before it looks at any of it, and the memory for it is not reserved.
struct Pieces<'a, B> {
    body: &'a mut B,
    rests: bool,
}

impl<B: Body<Data = Bytes, Error: Into<BrokenOff>> + Unpin> Stream for Pieces<'_, B> {
    type Item = Result<Bytes, BrokenOff>;

    fn poll_next(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if std::mem::take(&mut self.rests) {
            task.waker().wake_by_ref();
            return Poll::Pending;
        }
        loop {
            let piece = match ready!(Pin::new(&mut *self.body).poll_frame(task)) {
                None => return Poll::Ready(None),
                Some(Err(error)) => Err(error.into()),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => Ok(data),
                    Err(_trailers) => continue,
                },
            };
            self.rests = true;
            return Poll::Ready(Some(piece));
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use futures_util::stream;
    use http_body_util::{Full, StreamBody};
    use hyper::body::Frame;

    use super::*;
    use crate::flow::intake::Intake;

    const MIB: usize = 1024 * 1024;

    fn upload() -> Upload {
        Upload {
            context: String::new(),
            field: "file".to_owned(),
            file_bytes_max: 3_000,
            text_fields: vec!["instanceId".to_owned()],
            parts_max: 4,
            headers: vec![],
        }
    }

    fn headers(content_type: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, content_type.parse().unwrap());
        headers
    }

    fn part(name: &str, content: &str) -> String {
        let disposition = format!(r#"form-data; name="{name}"; filename="a.png""#);
        format!("--b\r\nContent-Disposition: {disposition}\r\n\r\n{content}\r\n")
    }

    async fn read_in(pieces: Vec<&str>) -> Result<Uploaded, UploadError> {
        let pieces: Vec<_> = pieces
            .into_iter()
            .map(|it| Ok::<_, BrokenOff>(Frame::data(Bytes::copy_from_slice(it.as_bytes()))))
            .collect();
        let body = StreamBody::new(stream::iter(pieces));
        let headers = headers("multipart/form-data; boundary=b");
        let share = Intake::new(MIB).of_store("s");
        read(&upload(), &headers, body, share, Duration::from_secs(60)).await
    }

    async fn read_whole(text: &str) -> Result<Uploaded, UploadError> {
        // In one piece, and byte by byte.
        let whole = read_in(vec![text]).await;
        let pieces = text.split_inclusive(|_| true).collect();
        let piecewise = read_in(pieces).await;
        match (&whole, &piecewise) {
            (Ok(one), Ok(other)) => assert_eq!(one.bytes, other.bytes),
            (Err(one), Err(other)) => assert_eq!(format!("{one:?}"), format!("{other:?}")),
            (one, other) => panic!("{} is not {}", one.is_ok(), other.is_ok()),
        }
        whole
    }

    #[tokio::test]
    async fn the_first_file_counts_and_fields_are_cut() {
        let body = [
            part("instanceId", &"w".repeat(2_000)),
            part("file", "content"),
            part("file", "another"),
            part("other", "passed over"),
            "--b--\r\n".to_owned(),
        ];
        let read = read_whole(&body.concat()).await.unwrap();
        assert_eq!(read.bytes, "content");
        let file = read.parts.file.unwrap();
        assert_eq!((file.bytes, file.name.as_deref()), (7, Some("a.png")));
        assert_eq!(file.beginning, b"content");
        assert_eq!(
            file.sha256,
            "ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73"
        );
        assert_eq!(
            read.parts.texts,
            [("instanceId".to_owned(), "w".repeat(TEXT_BYTES_MAX))]
        );
    }

    #[tokio::test]
    async fn i7_a_file_that_is_too_large_is_said_to_be_and_not_kept() {
        for (bytes, is_too_large) in [(3_000, false), (3_001, true), (60_000, true)] {
            let body = part("file", &"x".repeat(bytes)) + "--b--\r\n";
            match read_whole(&body).await {
                Ok(read) => assert!(!is_too_large && read.bytes.len() == bytes, "{bytes}"),
                Err(error) => {
                    assert!(
                        is_too_large && matches!(error, UploadError::TooLarge),
                        "{bytes}"
                    );
                }
            }
        }
        // Nor is the rest of a body read for ever.
        let body = part("other", &"x".repeat(70_000)) + "--b--\r\n";
        assert!(matches!(
            read_whole(&body).await,
            Err(UploadError::TooLarge)
        ));
    }

    #[tokio::test]
    async fn i7_what_is_no_upload_is_malformed() {
        let ends = "--b--\r\n".to_owned();
        for body in [
            String::new(),
            "no multipart".to_owned(),
            part("file", "cut off"),
            part("file", "x").replace("\r\n\r\n", "\r\n"),
            // One part more than there may be.
            part("a", "x").repeat(5) + &ends,
        ] {
            let read = read_whole(&body).await;
            assert!(matches!(read, Err(UploadError::Malformed)), "{body}");
        }
        let share = Intake::new(MIB).of_store("s");
        for content_type in ["application/json", "multipart/form-data"] {
            let headers = headers(content_type);
            let body = Full::new(Bytes::from_static(b"{}"));
            let time = Duration::from_secs(60);
            let read = read(&upload(), &headers, body, Arc::clone(&share), time).await;
            assert!(
                matches!(read, Err(UploadError::Malformed)),
                "{content_type}"
            );
        }
    }

    #[tokio::test]
    async fn i7_who_never_ends_is_too_slow_and_who_finds_no_memory_is_told() {
        let headers = headers("multipart/form-data; boundary=b");
        let silent = || StreamBody::new(stream::pending::<Result<Frame<Bytes>, BrokenOff>>());
        let intake = Intake::new(MIB);
        let share = || intake.of_store("s");
        let read_for = async |time| read(&upload(), &headers, silent(), share(), time).await;
        let slow = read_for(Duration::from_millis(1)).await;
        assert!(matches!(slow, Err(UploadError::TooSlow)));
        // It says how large it is: it is not even begun.
        let large = Full::new(Bytes::from(vec![0; 68_537]));
        let time = Duration::from_secs(60);
        let read = read(&upload(), &headers, large, share(), time).await;
        assert!(matches!(read, Err(UploadError::TooLarge)));
    }
}
