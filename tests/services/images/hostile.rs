//! Uploads by those who mean harm, and by those who are slow: what they are
//! told, and that nothing is left of them.

use bytes::Bytes;

use super::{UPLOAD, key_of, refused, stored, upload, uploading};
use crate::picture::{Form, content_type, png, png_of};
use crate::stage::{Host, Stage};
use crate::{Scenario, scenarios};

/// `IMAGE_BYTES_MAX` where it is not set.
const IMAGE_BYTES_MAX: usize = 5 * 1024 * 1024;

pub fn scenarios() -> Vec<Scenario> {
    scenarios![
        Tokens:
            an_upload_that_stays_away_is_given_up,
            an_upload_whose_length_is_a_lie_is_refused,
            what_is_no_image_is_refused_whatever_its_name,
            an_image_has_at_most_5_mb,
            an_upload_without_a_length_is_one,
            an_upload_of_any_length_ends,
            an_upload_that_comes_piece_by_piece_is_one,
            an_upload_needs_its_file,
            what_is_no_multipart_is_refused,
            names_of_files_are_nothing_but_text;
        Open:
            i1_a_failed_upload_leaves_nothing,
    ]
}

fn what_is_no_image_is_refused_whatever_its_name(stage: &Stage) {
    let user = stage.user("no-image");
    let svg = b"<svg xmlns=\"http://www.w3.org/2000/svg\"><script>alert(1)</script></svg>";
    let html = b"<!doctype html><script>alert(document.domain)</script>";
    let hidden_html = b"\n\n<html>\x89PNG\r\n\x1a\n";
    let bmp = [b"BM".as_slice(), &[0; 60]].concat();
    for file in [
        svg.as_slice(),
        html,
        hidden_html,
        b"<?xml version=\"1.0\"?><svg/>",
        b"GIF89a/*<svg onload=alert(1)>*/=1;",
        b"GIF89a",
        b"\x89PNG\r\n\x1a\n",
        b"\x89PNG\r\n\x1a\n<script>alert(1)</script>",
        b"\xff\xd8\xff",
        b"RIFF\0\0\0\0WEBP<script>",
        b"%PDF-1.7\n",
        b"PK\x03\x04",
        b"MZ\x90\0",
        b"\x7fELF",
        &bmp,
        b"\0",
        b"",
    ] {
        for (name, declared) in [("x.png", "image/png"), ("x.svg", "image/svg+xml")] {
            let form = Form::default().file("file", name, declared, file);
            let answer = upload(stage, &user, form);
            // `GIF89a/*…` does begin as a GIF does, with a size and all.
            if answer.status == 200 && file.starts_with(b"GIF89a/*") {
                let image = stage.get(&format!("/api/images/{}", key_of(&answer)));
                assert_eq!(image.header("content-type").as_deref(), Some("image/gif"));
                continue;
            }
            refused(&answer, 400, "INVALID_FILE");
        }
    }
}

fn an_image_has_at_most_5_mb(stage: &Stage) {
    let user = stage.user("large");
    let most = png_of(IMAGE_BYTES_MAX);
    let key = key_of(&upload(stage, &user, Form::with_file(&most)));
    let image = stage.get(&format!("/api/images/{key}"));
    assert_eq!(image.status, 200);
    assert!(image.body[..] == most[..], "all of it comes back");
    for bytes in [
        IMAGE_BYTES_MAX + 1,
        IMAGE_BYTES_MAX + 100_000,
        3 * IMAGE_BYTES_MAX,
    ] {
        let answer = upload(stage, &user, Form::with_file(&png_of(bytes)));
        refused(&answer, 413, "FILE_TOO_LARGE");
    }
    // What comes before the file counts too, some time.
    let form = Form::default()
        .text("note", &"a".repeat(2 * IMAGE_BYTES_MAX))
        .file("file", "a.png", "image/png", &png());
    refused(&upload(stage, &user, form), 413, "FILE_TOO_LARGE");
}

fn an_upload_without_a_length_is_one(stage: &Stage) {
    let user = stage.user("chunked");
    let file = png_of(200_000);
    let mut exchange = stage.begin(&uploading(&user));
    assert!(exchange.write(Form::with_file(&file).end()));
    exchange.finish();
    let key = key_of(&exchange.answer());
    let image = stage.get(&format!("/api/images/{key}"));
    assert!(image.body[..] == file[..]);
}

fn an_upload_of_any_length_ends(stage: &Stage) {
    let user = stage.user("endless");
    let mut exchange = stage.begin(&uploading(&user));
    exchange.write(Form::with_file(&png_of(IMAGE_BYTES_MAX)).unended());
    let piece = Bytes::from(vec![b'a'; 64 * 1024]);
    // A gigabyte, if somebody takes it.
    let taken = (0..16_384)
        .take_while(|_| exchange.write(piece.clone()))
        .count();
    assert!(taken < 16_384, "the server takes a body without end");
    drop(exchange);
    // Who ends is told.
    let mut exchange = stage.begin(&uploading(&user));
    let form = Form::with_file(&png_of(IMAGE_BYTES_MAX + 1)).end();
    exchange.write(form);
    exchange.finish();
    refused(&exchange.answer(), 413, "FILE_TOO_LARGE");
}

fn an_upload_that_stays_away_is_given_up(stage: &Stage) {
    let user = stage.user("slow");
    let mut exchange = stage.begin(&uploading(&user));
    assert!(exchange.write(Form::with_file(&png()).unended()));
    // Nothing more, for as long as the server likes.
    let (answer, is_whole) = exchange.rest();
    if is_whole {
        refused(&answer, 408, "BODY_TIMEOUT");
    }
    // It has harmed nobody.
    key_of(&upload(stage, &user, Form::with_file(&png())));
}

fn an_upload_whose_length_is_a_lie_is_refused(stage: &Stage) {
    let user = stage.user("lengths");
    // More than may come, of which little does; some hosts wait for a while,
    // so that a client that sends it sees the answer.
    for length in [6_000_000_u64, 40_000_000, 99_999_999_999, 1 << 62] {
        let ask = uploading(&user).with("content-length", &length.to_string());
        let mut exchange = stage.begin(&ask);
        assert!(exchange.write(Form::with_file(&png()).end()));
        refused(&exchange.answer(), 413, "FILE_TOO_LARGE");
    }
    // What it says that it sends, and does not, is no upload.
    let form = Form::with_file(&png()).unended();
    let ask = uploading(&user).with("content-length", &form.len().to_string());
    let mut exchange = stage.begin(&ask);
    assert!(exchange.write(form));
    refused(&exchange.answer(), 400, "INVALID_FILE");
}

fn an_upload_that_comes_piece_by_piece_is_one(stage: &Stage) {
    let user = stage.user("pieces");
    let mut exchange = stage.begin(&uploading(&user));
    let form = Form::with_file(&png())
        .text("instanceId", &user.workspace)
        .end();
    // Boundaries are cut wherever they can be.
    for byte in form {
        assert!(exchange.write(vec![byte]));
    }
    exchange.finish();
    let key = key_of(&exchange.answer());
    let image = stage.get(&format!("/api/images/{key}"));
    assert_eq!(&image.body[..], &png()[..]);
}

fn an_upload_needs_its_file(stage: &Stage) {
    let user = stage.user("no-file");
    let png = png();
    for form in [
        Form::default(),
        Form::default().text("instanceId", &user.workspace),
        Form::default().file("image", "a.png", "image/png", &png),
        Form::default().file("File", "a.png", "image/png", &png),
        Form::default().file("file[]", "a.png", "image/png", &png),
        Form::default().part("Content-Type: image/png\r\n", &png),
    ] {
        let answer = upload(stage, &user, form);
        assert_eq!(answer.status, 400, "{answer:?}");
        let code = answer.json()["code"].as_str().map(str::to_owned);
        let code = code.expect("a code");
        assert!(["NO_FILE", "INVALID_FILE"].contains(&&*code), "{code}");
    }
    let answer = upload(
        stage,
        &user,
        Form::default().file("image", "a.png", "image/png", &png),
    );
    refused(&answer, 400, "NO_FILE");
    // Of two, the first is it.
    let two = Form::with_file(&png).file("file", "b.png", "image/png", b"<html>");
    key_of(&upload(stage, &user, two));
}

fn what_is_no_multipart_is_refused(stage: &Stage) {
    let user = stage.user("no-multipart");
    let body = Form::with_file(&png()).end();
    for types in [
        None,
        Some("image/png"),
        Some("application/json"),
        Some("text/plain"),
        Some("application/x-www-form-urlencoded"),
        Some("multipart/mixed; boundary=x"),
    ] {
        let ask = user.ask("POST", UPLOAD);
        let ask = match types {
            Some(types) => ask.with("content-type", types),
            None => ask,
        };
        refused(&stage.send_with(&ask, body.clone()), 415, "INVALID_FILE");
    }
    let typed = user
        .ask("POST", UPLOAD)
        .with("content-type", &content_type());
    for body in [
        b"".as_slice(),
        b"junk",
        b"\r\n\r\n",
        b"{\"file\":\"x\"}",
        b"--another\r\n\r\nx\r\n--another--\r\n",
        &Form::with_file(&png()).unended(),
    ] {
        let answer = stage.send_with(&typed, body.to_vec());
        refused(&answer, 400, "INVALID_FILE");
    }
    for method in ["GET", "PUT", "DELETE"] {
        let answer = stage.send(&user.ask(method, UPLOAD));
        refused(&answer, 405, "METHOD_NOT_ALLOWED");
    }
}

fn names_of_files_are_nothing_but_text(stage: &Stage) {
    let user = stage.user("names");
    let long = "n".repeat(5_000);
    for name in [
        "../../../etc/passwd",
        "..\\\\..\\\\x.png",
        "/abs.png",
        "a\u{0}b.png",
        "наклейка🙂.png",
        "<script>.png",
        "CON",
        "",
        &long,
    ] {
        let form = Form::default().file("file", name, "image/png", &png());
        let answer = upload(stage, &user, form);
        if name.contains('\0') {
            // It cannot stand in a header.
            refused(&answer, 400, "INVALID_FILE");
            continue;
        }
        let key = key_of(&answer);
        assert_eq!(key.len(), "covers/".len() + 32 + ".png".len(), "{name}");
        assert_eq!(stage.get(&format!("/api/images/{key}")).status, 200);
    }
}

fn i1_a_failed_upload_leaves_nothing(stage: &Stage) {
    let user = stage.user("half");
    // What nobody else uploads, at every place of it.
    let mark = format!("half-an-upload-{}-", user.id);
    let file = [png(), mark.repeat(2_000_000 / mark.len()).into_bytes()].concat();
    let body = Form::with_file(&file).unended();
    // Hangs up in the middle.
    let mut exchange = stage.begin(&uploading(&user));
    assert!(exchange.write(body[..body.len() / 2].to_vec()));
    drop(exchange);
    // Announces more than it sends, and hangs up.
    let length = (body.len() + 1_000).to_string();
    let ask = uploading(&user).with("content-length", &length);
    let mut exchange = stage.begin(&ask);
    assert!(exchange.write(body.clone()));
    drop(exchange);
    // Sends an end before its end.
    let mut exchange = stage.begin(&uploading(&user));
    assert!(exchange.write(body));
    exchange.finish();
    let (answer, _) = exchange.rest();
    refused(&answer, 400, "INVALID_FILE");
    // It is too large, or no image.
    let large = [file.clone(), file.clone(), file].concat();
    refused(
        &upload(stage, &user, Form::with_file(&large)),
        413,
        "FILE_TOO_LARGE",
    );
    let text = mark.repeat(1_000).into_bytes();
    refused(
        &upload(stage, &user, Form::with_file(&text)),
        400,
        "INVALID_FILE",
    );
    if stage.host == Host::Wasmtime {
        let half = mark.as_bytes();
        for path in stored(stage).expect("a directory") {
            // Another's may go meanwhile.
            let content = std::fs::read(&path).unwrap_or_default();
            let is_half = content.windows(half.len()).any(|bytes| bytes == half);
            assert!(!is_half, "{} is left", path.display());
        }
    }
    // And it goes on.
    key_of(&upload(stage, &user, Form::with_file(&png())));
}
