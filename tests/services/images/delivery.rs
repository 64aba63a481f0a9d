//! How images are given out: as what they are, for good, and in parts.

use hmac_sha256::Hash;
use syncline_tests::exchange::{Answer, Ask};

use super::{refused, uploaded};
use crate::picture::{png_of, polyglot};
use crate::stage::{ORIGIN, Stage};
use crate::{Scenario, scenarios};

/// Of the file whose parts are asked for.
const BYTES: usize = 1_000;

pub fn scenarios() -> Vec<Scenario> {
    scenarios![Tokens:
        an_image_is_read_by_whoever_has_its_key,
        who_has_an_image_is_told_that_it_has_not_changed,
        a_part_of_an_image_is_given_out,
        a_part_that_is_not_there_is_416,
        a_part_is_of_what_the_client_has,
        an_image_that_is_something_else_too_runs_nothing,
        no_key_leaves_the_prefix,
    ]
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn etag(file: &[u8]) -> String {
    format!("\"{}\"", hexadecimal(&Hash::hash(file)))
}

/// What every answer with an image says.
#[track_caller]
fn is_safe(answer: &Answer) {
    let header = |name| answer.header(name).unwrap_or_default();
    let cached = "public, max-age=31536000, immutable";
    assert_eq!(header("cache-control"), cached);
    assert_eq!(header("x-content-type-options"), "nosniff");
    let policy = header("content-security-policy");
    assert!(
        policy.split(';').any(|it| it.trim() == "sandbox"),
        "{policy}"
    );
}

fn an_image_is_read_by_whoever_has_its_key(stage: &Stage) {
    let file = png_of(BYTES);
    let path = uploaded(stage, &stage.user("reader"), &file);
    // Without a token, from any page that may connect.
    let got = stage.send(&Ask::get(&path).with("origin", ORIGIN));
    assert_eq!((got.status, &got.body[..]), (200, &file[..]));
    is_safe(&got);
    let expected = [
        ("content-type", "image/png".to_owned()),
        ("content-length", BYTES.to_string()),
        ("etag", etag(&file)),
        ("accept-ranges", "bytes".to_owned()),
        ("access-control-allow-origin", ORIGIN.to_owned()),
    ];
    for (name, value) in &expected {
        assert_eq!(got.header(name).as_ref(), Some(value), "{name}");
    }
    let head = stage.send(&Ask::new("HEAD", &path).with("origin", ORIGIN));
    assert_eq!((head.status, head.body.len()), (200, 0));
    is_safe(&head);
    for (name, value) in &expected {
        assert_eq!(head.header(name).as_ref(), Some(value), "HEAD: {name}");
    }
    // Opened in a tab.
    let tab = Ask::get(&path)
        .with("accept", "text/html,*/*;q=0.8")
        .with("sec-fetch-mode", "navigate")
        .with("sec-fetch-dest", "document");
    let tab = stage.send(&tab);
    assert_eq!((tab.status, &tab.body[..]), (200, &file[..]));
    is_safe(&tab);
    for method in ["POST", "PUT", "PATCH"] {
        let answer = stage.send(&Ask::new(method, &path));
        refused(&answer, 405, "METHOD_NOT_ALLOWED");
        let allow = answer.header("allow").unwrap_or_default();
        assert_eq!(allow, "GET, HEAD, DELETE");
    }
}

fn who_has_an_image_is_told_that_it_has_not_changed(stage: &Stage) {
    let file = png_of(BYTES);
    let path = uploaded(stage, &stage.user("cache"), &file);
    let etag = etag(&file);
    for (tags, is_known) in [
        (etag.clone(), true),
        (format!("W/{etag}"), true),
        (format!("\"other\", {etag}"), true),
        ("*".to_owned(), true),
        ("\"other\"".to_owned(), false),
        (etag.replace('"', ""), false),
    ] {
        for method in ["GET", "HEAD"] {
            let ask = Ask::new(method, &path).with("if-none-match", &tags);
            let answer = stage.send(&ask);
            let expected = if is_known { 304 } else { 200 };
            assert_eq!(answer.status, expected, "{method} {tags}");
            assert_eq!(answer.header("etag").as_deref(), Some(&*etag));
            is_safe(&answer);
            if is_known {
                assert!(answer.body.is_empty());
            }
        }
    }
    // It goes before a range.
    let both = Ask::get(&path)
        .with("if-none-match", &etag)
        .with("range", "bytes=0-1");
    assert_eq!(stage.send(&both).status, 304);
}

fn a_part_of_an_image_is_given_out(stage: &Stage) {
    let file = png_of(BYTES);
    let path = uploaded(stage, &stage.user("ranges"), &file);
    for (range, first, last) in [
        ("bytes=0-0", 0, 0),
        ("bytes=0-99", 0, 99),
        ("bytes=10-19", 10, 19),
        ("bytes=990-", 990, 999),
        ("bytes=990-5000", 990, 999),
        ("bytes=-10", 990, 999),
        ("bytes=-5000", 0, 999),
        ("bytes=0-999", 0, 999),
    ] {
        let answer = stage.send(&Ask::get(&path).with("range", range));
        assert_eq!(answer.status, 206, "{range}: {answer:?}");
        assert_eq!(&answer.body[..], &file[first..=last], "{range}");
        let content_range = format!("bytes {first}-{last}/{BYTES}");
        assert_eq!(
            answer.header("content-range"),
            Some(content_range),
            "{range}"
        );
        let length = (last - first + 1).to_string();
        assert_eq!(answer.header("content-length"), Some(length), "{range}");
        is_safe(&answer);
    }
    // What is no range, or several, is all of it.
    for range in [
        "bytes=5-4",
        "bytes=a-b",
        "bytes=0-1,4-5",
        "lines=0-1",
        "bytes",
        "",
    ] {
        let answer = stage.send(&Ask::get(&path).with("range", range));
        assert_eq!((answer.status, answer.body.len()), (200, BYTES), "{range}");
        assert_eq!(answer.header("content-range"), None, "{range}");
    }
    let head = stage.send(&Ask::new("HEAD", &path).with("range", "bytes=0-0"));
    assert_eq!(head.status, 200, "a range is for GET");
}

fn a_part_that_is_not_there_is_416(stage: &Stage) {
    let path = uploaded(stage, &stage.user("beyond"), &png_of(BYTES));
    for range in [
        "bytes=1000-",
        "bytes=1000-2000",
        "bytes=99999999999999999999-",
        "bytes=-0",
    ] {
        let answer = stage.send(&Ask::get(&path).with("range", range));
        refused(&answer, 416, "INVALID_REQUEST");
        let content_range = answer.header("content-range");
        assert_eq!(content_range, Some(format!("bytes */{BYTES}")), "{range}");
        assert_eq!(answer.header("cache-control").as_deref(), Some("no-store"));
    }
}

fn a_part_is_of_what_the_client_has(stage: &Stage) {
    let file = png_of(BYTES);
    let path = uploaded(stage, &stage.user("if-range"), &file);
    let etag = etag(&file);
    for (condition, status) in [
        (etag.clone(), 206),
        // Compared strongly.
        (format!("W/{etag}"), 200),
        ("\"other\"".to_owned(), 200),
        ("Sat, 29 Oct 1994 19:43:31 GMT".to_owned(), 200),
    ] {
        let ask = Ask::get(&path)
            .with("range", "bytes=0-9")
            .with("if-range", &condition);
        let answer = stage.send(&ask);
        assert_eq!(answer.status, status, "{condition}");
        let bytes = if status == 206 { 10 } else { BYTES };
        assert_eq!(answer.body.len(), bytes, "{condition}");
    }
}

fn an_image_that_is_something_else_too_runs_nothing(stage: &Stage) {
    let file = polyglot();
    let path = uploaded(stage, &stage.user("polyglot"), &file);
    let answer = stage.get(&path);
    assert_eq!(&answer.body[..], &file[..]);
    assert_eq!(answer.header("content-type").as_deref(), Some("image/png"));
    is_safe(&answer);
}

fn no_key_leaves_the_prefix(stage: &Stage) {
    let path = uploaded(stage, &stage.user("keys"), &png_of(BYTES));
    let name = path
        .strip_prefix("/api/images/covers/")
        .expect("a key")
        .to_owned();
    let long = "a".repeat(10_240);
    for key in [
        "".to_owned(),
        "covers".to_owned(),
        "covers/".to_owned(),
        "covers/nothing-has-this-key-nothing-has-.png".to_owned(),
        name.clone(),
        format!("other/{name}"),
        format!("../covers/{name}"),
        format!("covers/../covers/{name}"),
        "covers/..%2f..%2fclaims.json".to_owned(),
        format!("covers/%2e%2e/covers/{name}"),
        format!("covers/%2e%2e%2fcovers%2f{name}"),
        format!("covers/%252e%252e/{name}"),
        format!("covers/..\\{name}"),
        format!("covers/..%5c{name}"),
        format!("covers/{name}%00"),
        format!("covers/{name}%00.png"),
        format!("covers/%00{name}"),
        format!("covers//{name}"),
        format!("covers/./{name}"),
        format!("covers/{name}/"),
        format!("covers/{name}.json"),
        format!("covers/{name}%0d%0ax-evil:1"),
        format!("covers/%ff{name}"),
        format!("covers/{long}.png"),
        long.clone(),
        "%2e%2e%2f".repeat(1_000),
        "../../claims.json".to_owned(),
        "../../../../../../etc/passwd".to_owned(),
        "meta/covers".to_owned(),
        format!("meta/covers/{name}.json"),
    ] {
        let shown = &key[..key.len().min(80)];
        for method in ["GET", "HEAD", "DELETE"] {
            let ask = stage
                .user("keys")
                .ask(method, &format!("/api/images/{key}"));
            let answer = stage.send(&ask);
            // Some clients and proxies resolve `..` themselves, and ask for
            // what it then is.
            let is_resolved = answer.body[..] == png_of(BYTES)[..];
            let resolves =
                key.contains("../covers") || key.contains("/./") || key.contains("%2e%2e/");
            if method == "GET" && is_resolved && resolves {
                continue;
            }
            let is_refused = (400..500).contains(&answer.status);
            let is_resolved =
                resolves && matches!((method, answer.status), ("HEAD", 200) | ("DELETE", 403));
            assert!(is_refused || is_resolved, "{method} {shown}: {answer:?}");
            assert_eq!(answer.header("x-evil"), None);
        }
    }
    // Encoded as a browser may, it is the same key.
    let encoded = path.replace("covers/", "covers%2F");
    let answer = stage.get(&encoded);
    assert!([200, 404].contains(&answer.status), "{answer:?}");
    assert_eq!(stage.get(&path).status, 200);
}
