//! Uploads, and who may ask for what.

use super::*;

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
