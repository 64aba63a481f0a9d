//! The app's files, below a directory. Which of them answers a request, and
//! how long it may be kept, is the guest's (`services.asset`); what is here of
//! HTTP is what a file answers by itself: ranges, encodings, and whether it
//! has changed.

use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::header::{
    self, ACCEPT_ENCODING, CONTENT_ENCODING, ETAG, HeaderMap, HeaderName, HeaderValue,
    IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, RANGE, VARY,
};
use hyper::{Method, Request, StatusCode};
use thiserror::Error;
use tower_http::services::ServeFile;
use tracing::error;

use super::ranges;
use crate::contract::services::Asset;
use crate::exchange::answer::{Response, http_response, response, with_head};

/// What a request's path stands for that names none.
const INDEX: &str = "index.html";

/// Encodings that there may be files of, as a bundler makes them: their names
/// in HTTP, and what is added to a file's name.
const ENCODINGS: [(&str, &str); 2] = [("br", ".br"), ("gzip", ".gz")];

/// What of a request a file's answer depends on.
const CONDITIONS: [HeaderName; 5] = [
    ACCEPT_ENCODING,
    IF_MODIFIED_SINCE,
    IF_UNMODIFIED_SINCE,
    IF_RANGE,
    RANGE,
];

/// Why the app's files cannot be served.
#[derive(Debug, Error)]
pub enum AssetsError {
    /// The directory cannot be opened.
    #[error("{dir} cannot be opened: {source}", dir = dir.display())]
    Unreadable {
        /// The directory.
        dir: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is no directory.
    #[error("{0} is no directory: it has to be the one with the app's index.html")]
    NoDirectory(PathBuf),
}

/// A directory with the app's files.
#[derive(Debug)]
pub struct Assets {
    /// Without links in it.
    root: PathBuf,
}

/// A file, and those of its encodings that are there.
struct Found {
    path: PathBuf,
    /// Of the file, and of each encoding.
    tag: String,
    encodings: Vec<(&'static str, String)>,
}

impl Assets {
    /// The files below this directory.
    ///
    /// # Errors
    /// When there is no such directory.
    pub fn open(dir: &Path) -> Result<Self, AssetsError> {
        let unreadable = |source| AssetsError::Unreadable {
            dir: dir.to_owned(),
            source,
        };
        let root = dir.canonicalize().map_err(unreadable)?;
        if !root.metadata().map_err(unreadable)?.is_dir() {
            return Err(AssetsError::NoDirectory(dir.to_owned()));
        }
        Ok(Self { root })
    }

    /// Whether the app's first page is there.
    #[must_use]
    pub fn has_index(&self) -> bool {
        self.find(INDEX).is_ok_and(|found| found.is_some())
    }

    /// Answers with a file.
    pub async fn serve<B>(&self, asset: Asset, request: &Request<B>) -> Response {
        let path = match asset.path.as_str() {
            "" => INDEX,
            path => path,
        };
        let found = tokio::task::block_in_place(|| match (self.find(path), &asset.fallback) {
            (Ok(Some(found)), _) => Ok(Some((found, asset.headers))),
            (Ok(None), Some(fallback)) => {
                let found = self.find(fallback);
                found.map(|found| found.map(|it| (it, asset.fallback_headers)))
            }
            (Ok(None), None) => Ok(None),
            (Err(error), _) => Err(error),
        });
        let answer = match found {
            Ok(None) => return http_response(asset.missing),
            Ok(Some((found, headers))) => found.serve(headers, request).await,
            Err(error) => Err(error),
        };
        answer.unwrap_or_else(|error| {
            error!(
                event = "asset_failed",
                "a file of the app cannot be read: {error}"
            );
            with_head(StatusCode::INTERNAL_SERVER_ERROR, vec![], "")
        })
    }

    /// A file, if it is there. No link leads out of the directory.
    fn find(&self, path: &str) -> io::Result<Option<Found>> {
        let Some((path, metadata)) = self.file(path)? else {
            return Ok(None);
        };
        let mut encodings = Vec::new();
        for (encoding, suffix) in ENCODINGS {
            let mut name = path.clone().into_os_string();
            name.push(suffix);
            let name = PathBuf::from(name);
            if let Some((encoded, metadata)) = self.file(&name)?
                // Where a link leads to is not where it is looked for.
                && encoded == name
            {
                encodings.push((encoding, tag(&metadata, encoding)));
            }
        }
        let tag = tag(&metadata, "");
        Ok(Some(Found {
            path,
            tag,
            encodings,
        }))
    }

    fn file(&self, path: impl AsRef<Path>) -> io::Result<Option<(PathBuf, Metadata)>> {
        let found = self.root.join(path).canonicalize();
        let found = found.and_then(|path| path.metadata().map(|metadata| (path, metadata)));
        match found {
            Ok((path, metadata)) if metadata.is_file() && path.starts_with(&self.root) => {
                Ok(Some((path, metadata)))
            }
            Ok(_) => Ok(None),
            Err(error) => match error.kind() {
                io::ErrorKind::NotFound
                | io::ErrorKind::NotADirectory
                | io::ErrorKind::PermissionDenied
                | io::ErrorKind::InvalidInput
                | io::ErrorKind::InvalidFilename => Ok(None),
                // A link to itself; Rust has no name for it yet.
                _ if error.raw_os_error() == Some(libc::ELOOP) => Ok(None),
                _ => Err(error),
            },
        }
    }
}

impl Found {
    async fn serve<B>(
        &self,
        headers: Vec<(String, String)>,
        request: &Request<B>,
    ) -> io::Result<Response> {
        let mut asked = Request::new(Empty::<Bytes>::new());
        *asked.method_mut() = match *request.method() {
            Method::HEAD => Method::HEAD,
            _ => Method::GET,
        };
        for name in CONDITIONS {
            if let Some(value) = request.headers().get(&name) {
                asked.headers_mut().insert(name, value.clone());
            }
        }
        // What names the content itself goes before its time.
        let matched = request.headers().get(IF_NONE_MATCH);
        if matched.is_some() {
            asked.headers_mut().remove(IF_MODIFIED_SINCE);
        }
        // The library refuses what it does not understand; it is passed over
        // (RFC 9110, 14.2).
        let range = request.headers().get(RANGE);
        if *request.method() == Method::HEAD || !range.is_some_and(ranges::is_one) {
            asked.headers_mut().remove(RANGE);
        }
        if let Some(condition) = asked.headers_mut().remove(IF_RANGE)
            && !self.is_unchanged(&condition, asked.headers()).await?
        {
            asked.headers_mut().remove(RANGE);
        }
        if let Some(range) = asked.headers().get(RANGE)
            && self.is_all(range, asked.headers()).await?
        {
            let all = HeaderValue::from_static("bytes=0-");
            asked.headers_mut().insert(RANGE, all);
        }
        let answer = self.file().try_call(asked).await?;
        let (mut head, body) = answer.into_parts();
        let tag = self.tag_of(&head.headers).to_owned();
        let is_known = matched.is_some_and(|known| names(known, &tag));
        let body = if is_known && head.status.is_success() {
            head.status = StatusCode::NOT_MODIFIED;
            for name in [
                header::CONTENT_ENCODING,
                header::CONTENT_LENGTH,
                header::CONTENT_RANGE,
                header::CONTENT_TYPE,
            ] {
                head.headers.remove(name);
            }
            Empty::new().map_err(|never| match never {}).boxed_unsync()
        } else {
            body.map_err(Into::into).boxed_unsync()
        };
        let mut answer = response(head.status, headers, body);
        answer.headers_mut().extend(head.headers);
        if let Ok(tag) = HeaderValue::try_from(tag) {
            answer.headers_mut().insert(ETAG, tag);
        }
        if !self.encodings.is_empty() {
            let value = HeaderValue::from_static("accept-encoding");
            answer.headers_mut().append(VARY, value);
        }
        Ok(answer)
    }

    fn file(&self) -> ServeFile {
        self.encodings.iter().fold(
            ServeFile::new(&self.path),
            |file, (encoding, _)| match *encoding {
                "br" => file.precompressed_br(),
                _ => file.precompressed_gzip(),
            },
        )
    }

    /// What would be sent, but for its content.
    async fn look(&self, headers: &HeaderMap) -> io::Result<HeaderMap> {
        let mut asked = Request::new(Empty::<Bytes>::new());
        *asked.method_mut() = Method::HEAD;
        if let Some(value) = headers.get(ACCEPT_ENCODING) {
            asked.headers_mut().insert(ACCEPT_ENCODING, value.clone());
        }
        Ok(self.file().try_call(asked).await?.into_parts().0.headers)
    }

    /// Whether `If-Range` names what would be sent: only then a part of it
    /// fits to what the client has.
    async fn is_unchanged(&self, condition: &HeaderValue, headers: &HeaderMap) -> io::Result<bool> {
        let found = self.look(headers).await?;
        let modified = found.get(header::LAST_MODIFIED);
        Ok(condition == self.tag_of(&found) || modified == Some(condition))
    }

    /// Of a file that is shorter than its end that is asked for, all is that
    /// end (RFC 9110, 14.1.2). The library refuses it.
    async fn is_all(&self, range: &HeaderValue, headers: &HeaderMap) -> io::Result<bool> {
        let Some(suffix) = ranges::suffix(range) else {
            return Ok(false);
        };
        let found = self.look(headers).await?;
        let bytes = found.get(header::CONTENT_LENGTH);
        let bytes = bytes.and_then(|it| it.to_str().ok()?.parse::<u64>().ok());
        Ok(bytes.is_some_and(|bytes| suffix > bytes))
    }

    /// The tag of the file that an answer with these headers is made of.
    fn tag_of(&self, headers: &HeaderMap) -> &str {
        let encoding = headers.get(CONTENT_ENCODING);
        let mut encodings = self.encodings.iter();
        let found = encodings.find(|(it, _)| encoding.is_some_and(|encoding| encoding == it));
        found.map_or(&self.tag, |(_, tag)| tag)
    }
}

/// A file's tag: its time, to the nanosecond, and its length.
fn tag(metadata: &Metadata, encoding: &str) -> String {
    let modified = metadata.modified().ok();
    let since = modified.and_then(|it| it.duration_since(UNIX_EPOCH).ok());
    let nanoseconds = since.unwrap_or_default().as_nanos();
    let bytes = metadata.len();
    let dash = if encoding.is_empty() { "" } else { "-" };
    format!("\"{nanoseconds:x}-{bytes:x}{dash}{encoding}\"")
}

/// Whether `If-None-Match` names this tag.
fn names(condition: &HeaderValue, tag: &str) -> bool {
    condition.to_str().is_ok_and(|tags| {
        let mut tags = tags.split(',').map(str::trim);
        tags.any(|it| it == "*" || it.strip_prefix("W/").unwrap_or(it) == tag)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::contract;

    /// An app beside a secret, with links out of it.
    fn app(dir: &Path) -> Assets {
        let root = dir.join("app");
        std::fs::create_dir_all(root.join("assets/empty")).unwrap();
        std::fs::create_dir_all(dir.join("outside")).unwrap();
        for (file, content) in [
            ("app/index.html", "<html>"),
            ("app/assets/a.js", "0123456789"),
            ("app/assets/a.js.br", "brotli"),
            ("app/assets/a.js.gz", "gzip"),
            ("app/assets/linked.js", "plain"),
            ("app/assets/index.html", "of a directory"),
            ("secret", "secret"),
            ("outside/secret", "secret"),
        ] {
            std::fs::write(dir.join(file), content).unwrap();
        }
        symlink(dir.join("secret"), root.join("link")).unwrap();
        symlink("../outside", root.join("out")).unwrap();
        symlink("../../secret", root.join("assets/linked.js.br")).unwrap();
        symlink("assets/a.js", root.join("inside.js")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        Assets::open(&root).unwrap()
    }

    fn asset(path: &str, fallback: Option<&str>) -> Asset {
        let kept = |cache: &str| vec![("cache-control".to_owned(), cache.to_owned())];
        Asset {
            path: path.to_owned(),
            fallback: fallback.map(str::to_owned),
            headers: kept("immutable"),
            fallback_headers: kept("no-cache"),
            missing: contract::Response {
                status: 404,
                headers: kept("no-store"),
                body: "missing".to_owned(),
            },
        }
    }

    struct Answer {
        status: u16,
        headers: HeaderMap,
        body: String,
    }

    impl Answer {
        fn header(&self, name: &str) -> &str {
            self.headers.get(name).map_or("", |it| it.to_str().unwrap())
        }
    }

    async fn ask(assets: &Assets, asset: Asset, headers: &[(HeaderName, &str)]) -> Answer {
        let mut request = Request::new(());
        for (name, value) in headers {
            let value = HeaderValue::try_from(*value).unwrap();
            request.headers_mut().insert(name, value);
        }
        let answer = assets.serve(asset, &request).await;
        let (head, body) = answer.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            body: String::from_utf8(body.to_vec()).unwrap(),
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_file_its_fallback_or_what_is_said_where_none_is() {
        let dir = tempfile::tempdir().unwrap();
        let assets = app(dir.path());
        assert!(assets.has_index());
        for (path, fallback, status, body, cache) in [
            ("", None, 200, "<html>", "immutable"),
            ("assets/a.js", None, 200, "0123456789", "immutable"),
            ("inside.js", None, 200, "0123456789", "immutable"),
            ("todos/1", Some(INDEX), 200, "<html>", "no-cache"),
            ("todos/1", None, 404, "missing", "no-store"),
            ("todos/1", Some("nor this"), 404, "missing", "no-store"),
            // A directory is none, whatever is in it.
            ("assets", None, 404, "missing", "no-store"),
            ("assets/empty", None, 404, "missing", "no-store"),
            ("index.html/x", None, 404, "missing", "no-store"),
        ] {
            let answer = ask(&assets, asset(path, fallback), &[]).await;
            assert_eq!(answer.status, status, "{path}");
            assert_eq!(answer.body, body, "{path}");
            assert_eq!(answer.header("cache-control"), cache, "{path}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn no_path_and_no_link_leaves_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let assets = app(dir.path());
        let absolute = dir.path().join("secret");
        for path in [
            "../secret",
            "assets/../../secret",
            "link",
            "out/secret",
            "loop",
            "a\0b",
            absolute.to_str().unwrap(),
            &"x".repeat(10_000),
        ] {
            let answer = ask(&assets, asset(path, None), &[]).await;
            assert_eq!((answer.status, &*answer.body), (404, "missing"), "{path}");
        }
        // Nor that of an encoding.
        let encoded = [(ACCEPT_ENCODING, "br")];
        let answer = ask(&assets, asset("assets/linked.js", None), &encoded).await;
        assert_eq!(answer.body, "plain");
        assert_eq!(answer.header("content-encoding"), "");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_encoding_that_is_there_is_sent_to_whoever_takes_it() {
        let dir = tempfile::tempdir().unwrap();
        let assets = app(dir.path());
        let mut tags = Vec::new();
        for (accepted, encoding, body) in [
            ("gzip, deflate, br", "br", "brotli"),
            ("gzip", "gzip", "gzip"),
            ("br;q=0", "", "0123456789"),
        ] {
            let headers = [(ACCEPT_ENCODING, accepted)];
            let answer = ask(&assets, asset("assets/a.js", None), &headers).await;
            assert_eq!(answer.header("content-encoding"), encoding);
            assert_eq!(answer.header("content-type"), "text/javascript");
            assert_eq!(answer.header("vary"), "accept-encoding");
            assert_eq!(answer.header("content-length"), body.len().to_string());
            assert_eq!(answer.body, body);
            tags.push(answer.header("etag").to_owned());
        }
        tags.dedup();
        assert_eq!(tags.len(), 3, "each is its own: {tags:?}");
        let answer = ask(&assets, asset("", None), &[(ACCEPT_ENCODING, "br")]).await;
        assert_eq!(answer.header("vary"), "", "there is one only");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_has_not_changed_is_not_sent_again() {
        let dir = tempfile::tempdir().unwrap();
        let assets = app(dir.path());
        let wanted = || asset("assets/a.js", None);
        let first = ask(&assets, wanted(), &[]).await;
        let (tag, time) = (first.header("etag"), first.header("last-modified"));
        assert!(tag.starts_with('"'), "{tag}");
        let weak = format!("\"other\", W/{tag}");
        for headers in [
            vec![(IF_NONE_MATCH, tag)],
            vec![(IF_NONE_MATCH, weak.as_str())],
            vec![(IF_NONE_MATCH, "*")],
            vec![(IF_MODIFIED_SINCE, time)],
        ] {
            let answer = ask(&assets, wanted(), &headers).await;
            assert_eq!((answer.status, &*answer.body), (304, ""), "{headers:?}");
            assert_eq!(answer.header("cache-control"), "immutable");
            assert_eq!(answer.header("etag"), tag);
        }
        // The tag says that it is another, whatever its time.
        let headers = [(IF_NONE_MATCH, "\"other\""), (IF_MODIFIED_SINCE, time)];
        assert_eq!(ask(&assets, wanted(), &headers).await.status, 200);
        // It is changed, to the same length.
        std::fs::write(dir.path().join("app/assets/a.js"), "9876543210").unwrap();
        let answer = ask(&assets, wanted(), &[(IF_NONE_MATCH, tag)]).await;
        assert_eq!((answer.status, &*answer.body), (200, "9876543210"));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_part_is_sent_if_it_fits_to_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let assets = app(dir.path());
        let wanted = || asset("assets/a.js", None);
        let first = ask(&assets, wanted(), &[]).await;
        let part = ask(&assets, wanted(), &[(RANGE, "bytes=2-4")]).await;
        assert_eq!((part.status, &*part.body), (206, "234"));
        assert_eq!(part.header("content-range"), "bytes 2-4/10");
        assert_eq!(part.header("content-length"), "3");
        let beyond = ask(&assets, wanted(), &[(RANGE, "bytes=10-")]).await;
        assert_eq!(beyond.status, 416);
        assert_eq!(beyond.header("content-range"), "bytes */10");
        for (condition, status) in [
            (first.header("etag"), 206),
            (first.header("last-modified"), 206),
            ("\"other\"", 200),
            ("Thu, 01 Jan 1970 00:00:00 GMT", 200),
        ] {
            let headers = [(RANGE, "bytes=2-4"), (IF_RANGE, condition)];
            let answer = ask(&assets, wanted(), &headers).await;
            assert_eq!(answer.status, status, "{condition}");
        }
    }
}
