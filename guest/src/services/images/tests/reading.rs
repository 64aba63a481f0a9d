//! Images as they are given out, and deleted.

use super::*;

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
