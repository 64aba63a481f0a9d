//! The app: which file answers a request, and how long it may be kept.

use percent_encoding::percent_decode_str;

use crate::admission::Request;
use crate::config::Config;
use crate::contract::syncline::backend::services::{Asset, Response, Service};

/// A path's length, in bytes: of real apps' files, and no file system's limit.
const PATH_BYTES_MAX: usize = 1_024;

/// What a browser gets that navigates to where no file is: the app has pages
/// of its own.
const INDEX: &str = "index.html";

/// Characters of a hash that a bundler puts into a file's name (Vite, Rollup).
const HASH_CHARS: usize = 8;

/// The file that answers a request, if the app is served and it can be one's.
#[must_use]
pub fn route(config: &Config, request: &Request, headers: &[(String, String)]) -> Option<Service> {
    if !config.services.assets || !matches!(request.method.as_str(), "GET" | "HEAD") {
        return None;
    }
    let path = file_path(&request.path)?;
    let kept = |is_hashed: bool| {
        let cache = if is_hashed {
            "public, max-age=31536000, immutable"
        } else {
            "no-cache"
        };
        let mut headers = headers.to_vec();
        headers.push(("cache-control".to_owned(), cache.to_owned()));
        headers.push(("x-content-type-options".to_owned(), "nosniff".to_owned()));
        headers
    };
    let mut missing_headers = headers.to_vec();
    missing_headers.push(("cache-control".to_owned(), "no-store".to_owned()));
    missing_headers.push((
        "content-type".to_owned(),
        "text/plain; charset=utf-8".to_owned(),
    ));
    Some(Service::Asset(Asset {
        headers: kept(is_hashed(&path)),
        path,
        fallback: navigates(request).then(|| INDEX.to_owned()),
        fallback_headers: kept(false),
        missing: Response {
            status: 404,
            headers: missing_headers,
            body: "Nothing is here.\n".to_owned(),
        },
    }))
}

/// Whether a browser wants to show what it gets as a page.
fn navigates(request: &Request) -> bool {
    match request.header("sec-fetch-mode") {
        Some(mode) => mode == "navigate",
        // Browsers before 2023, and links opened by programs.
        None => request
            .header("accept")
            .is_some_and(|accept| accept.contains("text/html")),
    }
}

/// The path of a file below the app's directory, if it can be one.
fn file_path(path: &str) -> Option<String> {
    if path.len() > PATH_BYTES_MAX {
        return None;
    }
    let mut segments = Vec::new();
    let inner = path.strip_prefix('/')?;
    let inner = inner.strip_suffix('/').unwrap_or(inner);
    for segment in inner.split('/') {
        let segment = percent_decode_str(segment).decode_utf8().ok()?;
        // An encoded `/` would be one segment more for whoever opens the file.
        let is_plain = !segment
            .chars()
            .any(|it| it.is_control() || matches!(it, '/' | '\\' | ':'));
        let is_hidden = segment.starts_with('.');
        if segment.is_empty() && segments.is_empty() && inner.is_empty() {
            break;
        }
        if segment.is_empty() || is_hidden || !is_plain {
            return None;
        }
        segments.push(segment.into_owned());
    }
    Some(segments.join("/"))
}

/// Whether a file's name has a hash of its content, so that it never changes.
fn is_hashed(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let Some((stem, _)) = name.split_once('.').filter(|(stem, _)| !stem.is_empty()) else {
        return false;
    };
    // `name-<hash>.js`, whose hash may have a `-` in it, or `name.<hash>.js`.
    let at_end = stem
        .len()
        .checked_sub(HASH_CHARS + 1)
        .and_then(|at| stem.get(at..))
        .and_then(|end| end.strip_prefix('-'));
    let between_dots = name.split('.').skip(1).collect::<Vec<_>>();
    let between_dots = between_dots
        .split_last()
        .map_or(&[][..], |(_, parts)| parts);
    at_end
        .into_iter()
        .chain(between_dots.iter().copied())
        .any(|part| part.len() >= HASH_CHARS && is_hash(part))
}

fn is_hash(text: &str) -> bool {
    text.bytes()
        .all(|it| it.is_ascii_alphanumeric() || matches!(it, b'-' | b'_'))
        && text
            .bytes()
            .any(|it| it.is_ascii_digit() || it.is_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::{file_path, is_hashed};

    #[test]
    fn a_path_never_leaves_the_directory() {
        for (path, file) in [
            ("/", ""),
            ("/index.html", "index.html"),
            ("/assets/a%20b.js", "assets/a b.js"),
            ("/todos/17/", "todos/17"),
            ("/%C3%A9.png", "é.png"),
        ] {
            assert_eq!(file_path(path).as_deref(), Some(file), "{path}");
        }
        for path in [
            "",
            "index.html",
            "//etc/passwd",
            "/../secret",
            "/a/../b",
            "/a/%2e%2e/b",
            "/%2e%2e%2fsecret",
            "/a%2fb",
            "/a\\..\\b",
            "/a%5cb",
            "/c:/windows",
            "/.git/config",
            "/a/.env",
            "/a%00.png",
            "/%ff",
            "/a//b",
        ] {
            assert_eq!(file_path(path), None, "{path}");
        }
        assert_eq!(file_path(&format!("/{}", "a".repeat(2_000))), None);
    }

    #[test]
    fn only_hashed_names_are_kept_for_good() {
        for path in [
            "assets/index-BxY3kd9Q.js",
            "assets/index-Ab-cdE12.css",
            "main.5f2c9a7b1d.chunk.js",
        ] {
            assert!(is_hashed(path), "{path}");
        }
        for path in [
            "index.html",
            "favicon.ico",
            "service-worker.js",
            "my-component.js",
            "robots.txt",
            "manifest.webmanifest",
            "",
            ".js",
        ] {
            assert!(!is_hashed(path), "{path}");
        }
    }
}
