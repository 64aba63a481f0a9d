//! Images, from the request to the answer.

use serde_json::Value;

use super::conditions::{Wanted, names, wanted};
use super::kind::Kind;
use super::*;
use crate::admission::admit;
use crate::contract::exports::syncline::backend::images::{
    Accepted, Delivered, Delivery, File, Info, NoObject, Part, Parts, Removed, UploadError,
};
use crate::services::fake_host::{BYPASS, FakeHost, header, request, token};

const HASH: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
const KEY: &str = "covers/AbCdEfGhIjKlMnOpQrStUvWxYz012-_9.png";
const ON: [(&str, &str); 1] = [("HOST_IMAGES", "1")];
const MULTIPART: (&str, &str) = ("content-type", "multipart/form-data; boundary=x");
const HOST: (&str, &str) = ("host", "localhost:8787");

fn png() -> Vec<u8> {
    let mut png = b"\x89PNG\r\n\x1A\n\0\0\0\x0DIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0".to_vec();
    png.extend([0x1F, 0x15, 0xC4, 0x89]);
    png
}

fn file(beginning: &[u8], bytes: u64) -> File {
    File {
        bytes,
        beginning: beginning.to_vec(),
        sha256: HASH.to_owned(),
        name: Some("Mein Bild – 1.png".to_owned()),
    }
}

fn parts(file: File, texts: &[(&str, &str)]) -> Result<Parts, UploadError> {
    Ok(Parts {
        file: Some(file),
        texts: texts
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
            .collect(),
    })
}

/// What admission makes of a request.
fn admitted(host: &mut FakeHost, request: &Request) -> Verdict {
    let config = Ok(host.config());
    admit(host, &config, request).verdict
}

fn upload_context(host: &mut FakeHost, headers: &[(&str, &str)]) -> String {
    match admitted(host, &request("POST", UPLOAD_PATH, headers)) {
        Verdict::Serve(Service::Upload(upload)) => upload.context,
        other => panic!("{other:?}"),
    }
}

/// A refusal's status and code.
fn refused(verdict: Verdict) -> (u16, String) {
    match verdict {
        Verdict::Respond(response) => {
            assert_eq!(header(&response.headers, "cache-control"), Some("no-store"));
            (response.status, code(&response.body))
        }
        other => panic!("{other:?}"),
    }
}

fn code(body: &str) -> String {
    let body: Value = serde_json::from_str(body).unwrap();
    assert!(body["error"].is_string(), "{body}");
    body["code"].as_str().unwrap().to_owned()
}

fn of(status: u16, code: Code) -> (u16, String) {
    (status, code.as_str().to_owned())
}

fn accepted(host: &mut FakeHost, context: &str, body: Result<Parts, UploadError>) -> Accepted {
    let config = host.config();
    accept(host, &config, context, body)
}

/// How an upload is refused.
fn refusal(host: &mut FakeHost, context: &str, body: Result<Parts, UploadError>) -> (u16, String) {
    match accepted(host, context, body) {
        Accepted::Respond(response) => (response.status, code(&response.body)),
        other => panic!("{other:?}"),
    }
}

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

#[test]
fn only_keys_of_images_are_keys() {
    let escaped: String = KEY.bytes().map(|byte| format!("%{byte:02X}")).collect();
    for path in [KEY, &KEY.replace('/', "%2F"), &escaped] {
        assert_eq!(key_of(path).as_deref(), Some(KEY), "{path}");
    }
    assert!(key_of("covers/0c8ff6a1-6f60-4be9-a1d7-0a7a2d9f0c0e.jpeg").is_some());
    for path in [
        "",
        "covers/",
        "covers/.png",
        "covers/a",
        "covers/a.svg",
        "covers/a.html",
        "covers/a.png.html",
        "covers/a.png/",
        "covers/a.png\0",
        "covers/a%00.png",
        "covers/../secret.png",
        "covers/%2e%2e/secret.png",
        "covers/..%2fsecret.png",
        "covers%2f..%2fa.png",
        "covers//a.png",
        "/covers/a.png",
        "%252e%252e/a.png",
        "covers/a%2Epng%",
        "covers/a%zz.png",
        "covers/%ff.png",
        "covers/é.png",
        "covers\\a.png",
        "other/a.png",
        "Covers/a.png",
        "covers/a.PNG",
        "covers/a.png?x",
        "covers/a b.png",
    ] {
        assert_eq!(key_of(path), None, "{path}");
    }
    assert_eq!(key_of(&format!("covers/{}.png", "a".repeat(129))), None);
    assert_eq!(key_of(&"%2e".repeat(5_000)), None);
}

#[test]
fn images_are_off_until_there_is_a_store() {
    let mut host = FakeHost::new(&[]);
    for (method, path) in [("POST", UPLOAD_PATH), ("GET", "/api/images/covers/a.png")] {
        let verdict = admitted(&mut host, &request(method, path, &[MULTIPART, HOST]));
        assert_eq!(refused(verdict), of(404, Code::NotFound));
    }
}

#[test]
fn a_method_that_is_none_of_the_paths_is_told_which_are() {
    let mut host = FakeHost::with_tokens(&ON);
    for (method, path, allowed) in [
        ("GET", UPLOAD_PATH, "POST"),
        ("PUT", UPLOAD_PATH, "POST"),
        ("POST", "/api/images/covers/a.png", "GET, HEAD, DELETE"),
        ("PATCH", "/api/images/nothing", "GET, HEAD, DELETE"),
    ] {
        let Verdict::Respond(response) = admitted(&mut host, &request(method, path, &[HOST]))
        else {
            panic!("{method} {path}");
        };
        assert_eq!(response.status, 405);
        assert_eq!(header(&response.headers, "allow"), Some(allowed));
    }
}

#[test]
fn an_upload_needs_a_token_and_a_form() {
    let mut host = FakeHost::with_tokens(&ON);
    for content_type in [
        "",
        "application/json",
        "text/plain",
        "multipart/mixed; boundary=x",
    ] {
        let bare = request("POST", UPLOAD_PATH, &[("content-type", content_type), HOST]);
        assert_eq!(
            refused(admitted(&mut host, &bare)),
            of(415, Code::InvalidFile)
        );
    }
    let bare = request("POST", UPLOAD_PATH, &[MULTIPART, HOST]);
    assert_eq!(
        refused(admitted(&mut host, &bare)),
        of(401, Code::TokenMissing)
    );
    let bad = request(
        "POST",
        UPLOAD_PATH,
        &[MULTIPART, HOST, ("authorization", "Bearer x.y.z")],
    );
    assert_eq!(
        refused(admitted(&mut host, &bad)),
        of(401, Code::TokenInvalid)
    );
    let bare = request("DELETE", &format!("/api/images/{KEY}"), &[]);
    assert_eq!(
        refused(admitted(&mut host, &bare)),
        of(401, Code::TokenMissing)
    );
    // Another website's page, where no tokens are required.
    let mut open = FakeHost::new(&ON);
    let foreign = [MULTIPART, HOST, ("origin", "https://evil.example")];
    assert!(matches!(
        admitted(&mut open, &request("POST", UPLOAD_PATH, &foreign)),
        Verdict::Refuse { refused, .. } if refused.code == Code::Forbidden
    ));
    // Images are read by whoever has the key.
    let read = request("GET", &format!("/api/images/{KEY}"), &[]);
    assert!(matches!(
        admitted(&mut host, &read),
        Verdict::Serve(Service::Deliver(object)) if object.key == KEY
    ));
}

#[test]
fn a_development_server_needs_to_know_its_name() {
    let mut host = FakeHost::new(&ON);
    for name in ["", "a/b", "evil@host", "h\"x", &"h".repeat(301)] {
        let odd = request("POST", UPLOAD_PATH, &[MULTIPART, ("host", name)]);
        assert_eq!(
            refused(admitted(&mut host, &odd)),
            of(400, Code::InvalidRequest)
        );
    }
}

#[test]
fn an_image_is_stored_under_a_key_that_nobody_guesses() {
    let mut host = FakeHost::with_tokens(&ON);
    let bearer = format!("Bearer {}", token("ann/é", &[("w1", "member")]));
    let headers = [MULTIPART, HOST, ("authorization", bearer.as_str())];
    let context = upload_context(&mut host, &headers);
    let body = parts(file(&png(), 1_000), &[("instanceId", "w1")]);
    let Accepted::Store(first) = accepted(&mut host, &context, body.clone()) else {
        panic!("refused");
    };
    let Accepted::Store(second) = accepted(&mut host, &context, body) else {
        panic!("refused");
    };
    assert_ne!(first.key, second.key);
    let random = first.key.strip_prefix("covers/").unwrap();
    assert_eq!(random.strip_suffix(".png").unwrap().len(), 32);
    assert_eq!(key_of(&first.key).as_deref(), Some(first.key.as_str()));
    assert_eq!(first.content_type, "image/png");
    let kept = |name| metadata::value(&first.metadata, name).unwrap();
    assert_eq!(kept("Uploader"), "user:ann%2F%C3%A9");
    assert_eq!(kept("workspace"), "w1");
    assert_eq!(kept("uploaded-at"), "2023-11-14T22:13:20.000Z");
    assert_eq!(kept("name"), "Mein%20Bild%20%E2%80%93%201.png");
    assert_eq!(kept("sha256"), HASH);
    assert!(first.metadata.iter().all(|(_, value)| value.is_ascii()));
    assert_eq!(first.stored.status, 200);
    let body: Value = serde_json::from_str(&first.stored.body).unwrap();
    assert_eq!(body["key"], first.key.as_str());
    let url = format!("http://localhost:8787/api/images/{}", first.key);
    assert_eq!(body["url"], url.as_str());
    assert_eq!(
        (first.failed.status, code(&first.failed.body)),
        of(503, Code::UploadFailed)
    );
    assert_eq!(header(&first.failed.headers, "retry-after"), Some("1"));

    host.env.insert(
        "R2_PUBLIC_URL".to_owned(),
        "https://img.example/x/".to_owned(),
    );
    let context = upload_context(&mut host, &headers);
    let Accepted::Store(public) = accepted(&mut host, &context, parts(file(&png(), 9), &[])) else {
        panic!("refused");
    };
    let body: Value = serde_json::from_str(&public.stored.body).unwrap();
    let url = format!("https://img.example/x/{}", public.key);
    assert_eq!(body["url"], url.as_str());
    assert_eq!(metadata::value(&public.metadata, "workspace"), None);
}

#[test]
fn what_is_no_image_is_refused() {
    let mut host = FakeHost::new(&ON);
    let context = upload_context(&mut host, &[MULTIPART, HOST]);
    let svg = b"<svg xmlns=\"http://www.w3.org/2000/svg\" onload=\"alert(1)\"/>";
    let five = 5 * 1024 * 1024;
    let none = Ok(Parts {
        file: None,
        texts: Vec::new(),
    });
    for (body, answer) in [
        (parts(file(svg, 60), &[]), of(400, Code::InvalidFile)),
        (parts(file(b"", 0), &[]), of(400, Code::InvalidFile)),
        (
            parts(file(&png(), five + 1), &[]),
            of(413, Code::FileTooLarge),
        ),
        (none, of(400, Code::NoFile)),
        (Err(UploadError::Malformed), of(400, Code::InvalidFile)),
        (Err(UploadError::TooSlow), of(408, Code::BodyTimeout)),
        (Err(UploadError::Busy), of(503, Code::Overloaded)),
        (Err(UploadError::TooLarge), of(413, Code::FileTooLarge)),
    ] {
        assert_eq!(refusal(&mut host, &context, body), answer);
    }
    let whole = parts(file(&png(), five), &[]);
    assert!(matches!(
        accepted(&mut host, &context, whole),
        Accepted::Store(_)
    ));
    for context in ["", "{}", "[]", "null", "{\"caller\":7}"] {
        let body = parts(file(&png(), 1_000), &[]);
        assert_eq!(
            refusal(&mut host, context, body),
            of(503, Code::VersionUnknown)
        );
    }
    host.now = std::time::UNIX_EPOCH;
    let body = parts(file(&png(), 1_000), &[]);
    assert_eq!(
        refusal(&mut host, &context, body),
        of(503, Code::UploadFailed)
    );
}

#[test]
fn a_workspace_has_to_be_ones_own() {
    let mut host = FakeHost::with_tokens(&ON);
    let bearer = format!("Bearer {}", token("ann", &[("w1", "member")]));
    let context = upload_context(&mut host, &[MULTIPART, HOST, ("authorization", &bearer)]);
    for workspace in ["w2", "", "W1", "w1 "] {
        let body = parts(file(&png(), 1_000), &[("instanceId", workspace)]);
        assert_eq!(refusal(&mut host, &context, body), of(403, Code::Forbidden));
    }
    let server = format!("Bearer {BYPASS}");
    let server = upload_context(&mut host, &[MULTIPART, HOST, ("authorization", &server)]);
    let body = parts(file(&png(), 1_000), &[("instanceId", "w2")]);
    assert!(matches!(
        accepted(&mut host, &server, body),
        Accepted::Store(_)
    ));
}

fn info(metadata: &[(&str, &str)]) -> Info {
    Info {
        bytes: 100,
        content_type: "image/png".to_owned(),
        metadata: metadata
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
    }
}

fn delivered(method: &str, headers: &[(&str, &str)]) -> Delivered {
    let mut host = FakeHost::new(&ON);
    let read = request(method, &format!("/api/images/{KEY}"), headers);
    match admitted(&mut host, &read) {
        Verdict::Serve(Service::Deliver(object)) => {
            deliver(&object.context, Ok(info(&[("SHA256", HASH)])))
        }
        other => panic!("{other:?}"),
    }
}

fn delivery(method: &str, headers: &[(&str, &str)]) -> Delivery {
    match delivered(method, headers) {
        Delivered::Deliver(delivery) => delivery,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_image_is_given_out_for_good_and_harmless() {
    let whole = delivery("GET", &[("origin", "http://localhost:5173")]);
    assert_eq!(whole.head.status, 200);
    let part = Part {
        start: 0,
        length: 100,
    };
    assert_eq!(whole.part, Some(part));
    let etag = format!("\"{HASH}\"");
    for (name, value) in [
        ("content-type", "image/png"),
        ("etag", etag.as_str()),
        ("accept-ranges", "bytes"),
        ("cache-control", "public, max-age=31536000, immutable"),
        ("x-content-type-options", "nosniff"),
        ("content-security-policy", "sandbox; default-src 'none'"),
        ("cross-origin-resource-policy", "cross-origin"),
        ("access-control-allow-origin", "http://localhost:5173"),
        ("vary", "origin"),
    ] {
        assert_eq!(header(&whole.head.headers, name), Some(value), "{name}");
    }
    assert_eq!(header(&whole.head.headers, "content-length"), None);
    let head = delivery("HEAD", &[("range", "bytes=0-1")]);
    assert_eq!((head.head.status, head.part), (200, None));
    assert_eq!(header(&head.head.headers, "content-length"), Some("100"));
}

#[test]
fn another_programs_object_is_given_out_and_never_run() {
    let mut host = FakeHost::new(&ON);
    let read = request(
        "GET",
        &format!("/api/images/{KEY}"),
        &[
            ("if-none-match", "*"),
            ("range", "bytes=0-1"),
            ("if-range", "\"\""),
        ],
    );
    let Verdict::Serve(Service::Deliver(object)) = admitted(&mut host, &read) else {
        panic!("refused");
    };
    for metadata in [&[][..], &[("sha256", "\"\r\nx: y")], &[("sha256", "")]] {
        let mut info = info(metadata);
        info.content_type = "text/html".to_owned();
        let Delivered::Deliver(delivery) = deliver(&object.context, Ok(info)) else {
            panic!("refused");
        };
        assert_eq!(delivery.head.status, 200);
        assert_eq!(header(&delivery.head.headers, "etag"), None);
        let kind = header(&delivery.head.headers, "content-type");
        assert_eq!(kind, Some("application/octet-stream"));
    }
    for (why, answer) in [
        (NoObject::Missing, of(404, Code::NotFound)),
        (NoObject::Unavailable, of(503, Code::StorageUnavailable)),
    ] {
        let Delivered::Respond(response) = deliver(&object.context, Err(why)) else {
            panic!("delivered");
        };
        assert_eq!((response.status, code(&response.body)), answer);
        assert_eq!(header(&response.headers, "cache-control"), Some("no-store"));
    }
    let Delivered::Respond(response) = deliver("junk", Ok(info(&[]))) else {
        panic!("delivered");
    };
    assert_eq!(response.status, 503);
}

#[test]
fn who_has_it_is_not_sent_it_again() {
    let etag = format!("\"{HASH}\"");
    for tags in [
        etag.clone(),
        "*".to_owned(),
        format!("W/{etag}"),
        format!("\"a\", W/\"b\" ,{etag}"),
    ] {
        let all = [("if-none-match", tags.as_str()), ("range", "bytes=0-1")];
        let Delivered::Respond(response) = delivered("GET", &all) else {
            panic!("{tags}");
        };
        assert_eq!((response.status, response.body.as_str()), (304, ""));
        assert_eq!(header(&response.headers, "etag"), Some(etag.as_str()));
        assert!(header(&response.headers, "cache-control").is_some());
        assert_eq!(header(&response.headers, "content-type"), None);
    }
    for tags in ["", "\"a\"", HASH, "W/", &format!("w/{etag}"), "**"] {
        assert!(!names(tags, &etag), "{tags}");
    }
}

#[test]
fn a_single_range_is_a_part() {
    let part = |start, length| Wanted::Part { start, length };
    for (range, is) in [
        ("bytes=0-0", part(0, 1)),
        ("bytes=0-99", part(0, 100)),
        ("bytes=10-19", part(10, 10)),
        ("Bytes = 10-19 ", part(10, 10)),
        ("bytes=90-", part(90, 10)),
        ("bytes=90-1000", part(90, 10)),
        ("bytes=90-99999999999999999999999", part(90, 10)),
        ("bytes=-1", part(99, 1)),
        ("bytes=-1000", part(0, 100)),
        ("bytes=-0", Wanted::Beyond),
        ("bytes=100-", Wanted::Beyond),
        ("bytes=100-200", Wanted::Beyond),
        ("bytes=99999999999999999999999-", Wanted::Beyond),
        ("bytes=5-4", Wanted::All),
        ("bytes=0-1,3-4", Wanted::All),
        ("bytes=", Wanted::All),
        ("bytes=-", Wanted::All),
        ("bytes=a-b", Wanted::All),
        ("bytes=+1-2", Wanted::All),
        ("bytes=1-2-3", Wanted::All),
        ("bytes", Wanted::All),
        ("items=0-1", Wanted::All),
        ("", Wanted::All),
    ] {
        assert_eq!(wanted(range, 100), is, "{range}");
    }
    assert_eq!(
        wanted(&format!("bytes=0-{}", "1".repeat(200)), 100),
        Wanted::All
    );
    assert_eq!(wanted("bytes=0-", 0), Wanted::Beyond);
    assert_eq!(wanted("bytes=-5", 0), Wanted::Beyond);
    assert_eq!(
        wanted("bytes=0-18446744073709551615", u64::MAX),
        part(0, u64::MAX)
    );
}

#[test]
fn ranges_are_answered_as_http_has_it() {
    let some = delivery("GET", &[("range", "bytes=10-19")]);
    assert_eq!(some.head.status, 206);
    assert_eq!(
        header(&some.head.headers, "content-range"),
        Some("bytes 10-19/100")
    );
    let part = Part {
        start: 10,
        length: 10,
    };
    assert_eq!(some.part, Some(part));
    let Delivered::Respond(beyond) = delivered("GET", &[("range", "bytes=100-")]) else {
        panic!("delivered");
    };
    assert_eq!(beyond.status, 416);
    assert_eq!(
        header(&beyond.headers, "content-range"),
        Some("bytes */100")
    );
    let etag = format!("\"{HASH}\"");
    for (tag, status) in [
        (etag.clone(), 206),
        (format!("W/{etag}"), 200),
        ("\"other\"".to_owned(), 200),
        ("Tue, 14 Nov 2023 22:13:20 GMT".to_owned(), 200),
    ] {
        let all = [("range", "bytes=10-19"), ("if-range", tag.as_str())];
        assert_eq!(delivery("GET", &all).head.status, status, "{tag}");
    }
}

/// Whether somebody may delete an image.
fn may_delete(host: &mut FakeHost, bearer: Option<&str>, metadata: &[(&str, &str)]) -> bool {
    let bearer = bearer.map(|token| format!("Bearer {token}"));
    let headers: Vec<(&str, &str)> = bearer
        .iter()
        .map(|bearer| ("authorization", bearer.as_str()))
        .collect();
    let path = format!("/api/images/{KEY}");
    let Verdict::Serve(Service::Remove(object)) =
        admitted(host, &request("DELETE", &path, &headers))
    else {
        panic!("refused");
    };
    assert_eq!(object.key, KEY);
    match remove(&object.context, Ok(info(metadata))) {
        Removed::Remove(removing) => {
            assert_eq!(removing.removed.status, 204);
            assert_eq!(removing.failed.status, 503);
            true
        }
        Removed::Respond(response) => {
            assert_eq!(
                (response.status, code(&response.body)),
                of(403, Code::Forbidden)
            );
            false
        }
    }
}

#[test]
fn an_image_is_deleted_by_who_uploaded_it_or_is_above_it() {
    let host = &mut FakeHost::with_tokens(&ON);
    let anns = [("uploader", "user:ann"), ("workspace", "w1")];
    for (user, workspaces, may) in [
        ("ann", &[][..], true),
        ("bob", &[("w1", "owner")], true),
        ("bob", &[("w1", "admin")], true),
        ("bob", &[("w1", "member")], false),
        ("bob", &[("w1", "")], false),
        ("bob", &[("w2", "owner")], false),
        ("server", &[("w2", "owner")], false),
        ("Ann", &[], false),
    ] {
        let token = token(user, workspaces);
        assert_eq!(
            may_delete(host, Some(&token), &anns),
            may,
            "{user} {workspaces:?}"
        );
    }
    assert!(may_delete(host, Some(BYPASS), &anns));
    assert!(may_delete(host, Some(BYPASS), &[]));
    // Whatever users call themselves.
    for (user, uploader) in [
        ("server", "server"),
        ("anonymous", "anonymous"),
        ("", "user:"),
    ] {
        if !user.is_empty() {
            let token = token(user, &[("w1", "owner")]);
            assert!(!may_delete(host, Some(&token), &[("uploader", uploader)]));
        }
    }
    let token = token("ann", &[("w1", "owner")]);
    assert!(!may_delete(host, Some(&token), &[]));

    let open = &mut FakeHost::new(&ON);
    assert!(may_delete(open, None, &[("uploader", "anonymous")]));
    assert!(!may_delete(open, None, &anns));
    assert!(!may_delete(open, None, &[]));
    for context in ["", "{}", "7"] {
        let Removed::Respond(response) = remove(context, Ok(info(&[]))) else {
            panic!("removed");
        };
        assert_eq!(response.status, 503);
    }
}

#[test]
fn long_ids_and_names_are_kept_short_and_apart() {
    let long = "é".repeat(500);
    let longer = "é".repeat(501);
    assert_ne!(metadata::id_of(&long), metadata::id_of(&longer));
    assert_eq!(metadata::id_of(&long).len(), 7 + 64);
    assert_ne!(
        metadata::id_of(&metadata::id_of(&long)),
        metadata::id_of(&long)
    );
    assert_eq!(metadata::name_of(&long).len(), 252);
    assert_eq!(metadata::name_of("a\r\n\"b"), "a%0D%0A%22b");
}
