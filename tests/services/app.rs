//! The app: its files, for everybody, and nothing else.

use syncline_tests::exchange::{Answer, Ask};
use syncline_tests::rpc::{Client, events, new_store};
use syncline_tests::socket::Socket;

use crate::app_files::{BROTLI, CANARY, FILES, GZIP, INDEX, RESERVED, SCRIPT, script};
use crate::stage::{Host, Stage};
use crate::{Scenario, scenarios};

pub fn scenarios() -> Vec<Scenario> {
    scenarios![
        Tokens:
            the_app_is_for_everybody,
            files_have_the_types_of_their_names,
            hashed_files_are_kept_for_good_and_others_asked_for_again,
            a_browser_that_navigates_gets_the_app,
            what_is_not_navigated_to_gets_no_html,
            a_file_that_has_not_changed_is_not_sent_again,
            a_part_of_a_file_is_given_out,
            precompressed_files_go_to_who_reads_them,
            nothing_leaves_the_directory,
            reserved_paths_never_fall_through_to_the_app,
            files_are_only_read;
        Open:
            i8_sync_works_where_the_app_is_served,
            the_app_is_served_where_sync_is_asked_for_wrongly,
    ]
}

/// What a browser sends that opens a page.
fn navigating(path: &str) -> Ask {
    Ask::get(path)
        .with(
            "accept",
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
        )
        .with("sec-fetch-mode", "navigate")
        .with("sec-fetch-dest", "document")
}

/// What a page sends for its script.
fn loading(path: &str) -> Ask {
    Ask::get(path)
        .with("accept", "*/*")
        .with("sec-fetch-mode", "no-cors")
        .with("sec-fetch-dest", "script")
}

fn media_type(answer: &Answer) -> String {
    let value = answer.header("content-type").unwrap_or_default();
    value.split(';').next().unwrap_or_default().to_owned()
}

/// Sees the app's page.
#[track_caller]
fn is_index(answer: &Answer) {
    assert_eq!((answer.status, &*answer.text()), (200, INDEX), "{answer:?}");
    assert_eq!(media_type(answer), "text/html");
    assert_eq!(answer.header("cache-control").as_deref(), Some("no-cache"));
    let nosniff = answer.header("x-content-type-options");
    assert_eq!(nosniff.as_deref(), Some("nosniff"));
}

/// Sees that it is nothing of the app's, and no success with HTML.
#[track_caller]
fn is_nothing(what: &str, answer: &Answer) {
    assert!((400..500).contains(&answer.status), "{what}: {answer:?}");
    assert_ne!(media_type(answer), "text/html", "{what}: {answer:?}");
    assert!(!answer.text().contains(CANARY), "{what}: {answer:?}");
    assert!(!answer.text().contains(INDEX), "{what}: {answer:?}");
}

fn the_app_is_for_everybody(stage: &Stage) {
    // Without a token, from any page.
    is_index(&stage.send(&navigating("/")));
    is_index(&stage.get("/"));
    is_index(&stage.get("/index.html"));
    is_index(&stage.send(&navigating("/?utm_source=x")));
    let head = stage.send(&Ask::new("HEAD", "/"));
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(media_type(&head), "text/html");
    let got = stage.send(&loading(&format!("/{SCRIPT}")));
    assert_eq!((got.status, &*got.text()), (200, &*script()));
}

fn files_have_the_types_of_their_names(stage: &Stage) {
    for (name, text, media) in FILES {
        let path = format!("/{}", name.replace(' ', "%20"));
        let answer = stage.get(&path);
        assert_eq!((answer.status, &*answer.text()), (200, text), "{path}");
        assert_eq!(media_type(&answer), media, "{path}");
        let nosniff = answer.header("x-content-type-options");
        assert_eq!(nosniff.as_deref(), Some("nosniff"));
    }
    let answer = stage.get(&format!("/{SCRIPT}"));
    assert!(["text/javascript", "application/javascript"].contains(&&*media_type(&answer)));
}

fn hashed_files_are_kept_for_good_and_others_asked_for_again(stage: &Stage) {
    for (path, is_hashed) in [
        (SCRIPT, true),
        ("assets/style-Ab12cdE9.css", true),
        ("index.html", false),
        ("favicon.svg", false),
        ("fonts/a.woff2", false),
        ("pages/about.html", false),
    ] {
        let answer = stage.get(&format!("/{path}"));
        let expected = if is_hashed {
            "public, max-age=31536000, immutable"
        } else {
            "no-cache"
        };
        assert_eq!(
            answer.header("cache-control").as_deref(),
            Some(expected),
            "{path}"
        );
        assert!(answer.header("etag").is_some(), "{path}");
    }
}

fn a_browser_that_navigates_gets_the_app(stage: &Stage) {
    for path in [
        "/todos",
        "/todos/17/",
        "/todos/17?filter=open",
        "/a.b.c",
        "/%C3%A9",
        "/pages",
        "/apiary",
        "/v1beta",
        "/administration",
        "/assets/index-OldHash1.js",
    ] {
        is_index(&stage.send(&navigating(path)));
        // Browsers of before 2023.
        let older = Ask::get(path).with("accept", "text/html,*/*;q=0.8");
        is_index(&stage.send(&older));
    }
    // A page of its own is that page.
    let about = stage.send(&navigating("/pages/about.html"));
    assert!(about.text().contains("About"), "{about:?}");
}

fn what_is_not_navigated_to_gets_no_html(stage: &Stage) {
    for path in [
        "/todos",
        "/assets/index-OldHash1.js",
        "/assets/nothing.css",
        "/pages",
        "/assets",
    ] {
        is_nothing(path, &stage.send(&loading(path)));
        is_nothing(path, &stage.get(path));
        let head = stage.send(&Ask::new("HEAD", path));
        assert_eq!(head.status, 404, "{path}");
        // Nor does what a script fetches, whatever it accepts.
        let fetched = Ask::get(path)
            .with("accept", "text/html,*/*")
            .with("sec-fetch-mode", "cors")
            .with("sec-fetch-dest", "empty");
        is_nothing(path, &stage.send(&fetched));
    }
    let missing = stage.send(&loading("/assets/index-OldHash1.js"));
    // Whoever keeps that has no app after the next deploy.
    assert_eq!(missing.header("cache-control").as_deref(), Some("no-store"));
}

fn a_file_that_has_not_changed_is_not_sent_again(stage: &Stage) {
    for path in ["/index.html", "/", "/favicon.svg", &format!("/{SCRIPT}")] {
        let first = stage.get(path);
        let etag = first.header("etag").expect("an ETag");
        let again = stage.send(&Ask::get(path).with("if-none-match", &etag));
        assert_eq!((again.status, again.body.len()), (304, 0), "{path}");
        let cached = first.header("cache-control");
        assert_eq!(again.header("cache-control"), cached, "{path}");
        let other = stage.send(&Ask::get(path).with("if-none-match", "\"other\""));
        assert_eq!((other.status, &other.body), (200, &first.body), "{path}");
    }
    // The app's page is, by whichever path.
    let etag = stage.get("/").header("etag").expect("an ETag");
    let page = stage.send(&navigating("/todos/17").with("if-none-match", &etag));
    assert_eq!(page.status, 304, "{page:?}");
}

fn a_part_of_a_file_is_given_out(stage: &Stage) {
    let path = format!("/{SCRIPT}");
    let whole = script();
    let bytes = whole.len();
    // Packed, it has other parts.
    let asking = |range: &str| {
        Ask::get(&path)
            .with("accept-encoding", "identity")
            .with("range", range)
    };
    for (range, first, end) in [
        ("bytes=10-19".to_owned(), 10, 20),
        ("bytes=0-0".to_owned(), 0, 1),
        ("bytes=-10".to_owned(), bytes - 10, bytes),
        ("bytes=-99999999".to_owned(), 0, bytes),
        (format!("bytes={}-", bytes - 1), bytes - 1, bytes),
        ("bytes=5-99999999".to_owned(), 5, bytes),
        ("bytes=0-".to_owned(), 0, bytes),
    ] {
        let part = stage.send(&asking(&range));
        assert_eq!(part.status, 206, "{range}");
        assert!(part.text() == whole[first..end], "{range}");
        let content_range = format!("bytes {first}-{}/{bytes}", end - 1);
        assert_eq!(part.header("content-range"), Some(content_range), "{range}");
        let length = (end - first).to_string();
        assert_eq!(part.header("content-length"), Some(length), "{range}");
        assert!(media_type(&part).ends_with("/javascript"));
    }
    for range in ["bytes=1000000-", "bytes=1000000-1000001", "bytes=-0"] {
        let beyond = stage.send(&asking(range));
        assert_eq!(beyond.status, 416, "{range}: {beyond:?}");
        let content_range = format!("bytes */{bytes}");
        assert_eq!(
            beyond.header("content-range"),
            Some(content_range),
            "{range}"
        );
    }
    // What is no range, or several, is all of it.
    for range in [
        "bytes=5-4",
        "bytes=a-b",
        "bytes=0-1,4-5",
        "lines=0-1",
        "bytes",
        "bytes=-",
        "",
    ] {
        let answer = stage.send(&asking(range));
        assert_eq!((answer.status, answer.body.len()), (200, bytes), "{range}");
        assert_eq!(answer.header("content-range"), None, "{range}");
    }
    let head = Ask::new("HEAD", &path).with("range", "bytes=0-0");
    assert_eq!(stage.send(&head).status, 200, "a range is for GET");
    let etag = stage.send(&Ask::get(&path).with("accept-encoding", "identity"));
    let etag = etag.header("etag").expect("an ETag");
    for (condition, status) in [(&*etag, 206), ("\"other\"", 200)] {
        let answer = stage.send(&asking("bytes=10-19").with("if-range", condition));
        assert_eq!(answer.status, status, "{condition}");
    }
}

fn precompressed_files_go_to_who_reads_them(stage: &Stage) {
    let path = format!("/{SCRIPT}");
    let asking = |encodings: &str| stage.send(&Ask::get(&path).with("accept-encoding", encodings));
    let plain = stage.get(&path);
    assert_eq!(plain.header("content-encoding"), None);
    if stage.host == Host::Workerd {
        // Cloudflare compresses on its own.
        assert_eq!(asking("identity").text(), script());
        return;
    }
    for (encodings, encoding, text) in [
        ("br", Some("br"), BROTLI),
        ("gzip, deflate, br, zstd", Some("br"), BROTLI),
        ("gzip", Some("gzip"), GZIP),
        ("gzip, br;q=0", Some("gzip"), GZIP),
        ("identity", None, &*script()),
        ("deflate", None, &*script()),
        ("", None, &*script()),
    ] {
        let answer = asking(encodings);
        assert_eq!((answer.status, &*answer.text()), (200, text), "{encodings}");
        assert_eq!(
            answer.header("content-encoding").as_deref(),
            encoding,
            "{encodings}"
        );
        let media = media_type(&answer);
        assert!(
            media.ends_with("/javascript"),
            "{media}: the type of what is packed"
        );
        let vary = answer.header("vary").unwrap_or_default().to_lowercase();
        assert!(vary.contains("accept-encoding"), "{encodings}: {vary}");
        let etag = answer.header("etag").expect("an ETag");
        if encoding.is_some() {
            assert_ne!(Some(etag.clone()), plain.header("etag"), "of other bytes");
        }
        let known = Ask::get(&path)
            .with("accept-encoding", encodings)
            .with("if-none-match", &etag);
        assert_eq!(stage.send(&known).status, 304, "{encodings}");
    }
    // The link beside it leads out of the directory.
    let robots = Ask::get("/robots.txt").with("accept-encoding", "gzip");
    let robots = stage.send(&robots);
    assert_eq!(robots.header("content-encoding"), None);
    assert!(!robots.text().contains(CANARY));
}

fn nothing_leaves_the_directory(stage: &Stage) {
    let long = format!("/{}", "a".repeat(10_240));
    let deep = "/a".repeat(5_000);
    for path in [
        "/../secret.txt",
        "/assets/../../secret.txt",
        "/..%2fsecret.txt",
        "/%2e%2e/secret.txt",
        "/%2e%2e%2fsecret.txt",
        "/%252e%252e%252fsecret.txt",
        "/assets/%2e%2e/%2e%2e/secret.txt",
        "/..\\secret.txt",
        "/..%5csecret.txt",
        "/assets/..%5c..%5csecret.txt",
        "/.../secret.txt",
        "//secret.txt",
        "//etc/passwd",
        "/etc/passwd",
        "/%2fetc%2fpasswd",
        "/file:///etc/passwd",
        "/C:/windows/win.ini",
        "/-secret/secret.txt",
        "/../dist-secret/secret.txt",
        "/.env",
        "/%2eenv",
        "/.git/config",
        "/assets/.hidden",
        "/index.html%00",
        "/index.html%00.js",
        "/%00",
        "/%ff",
        "/index.html%20",
        "/index.html.",
        "/index.html::$DATA",
        "/link.txt",
        "/linked/secret.txt",
        "/linked",
        "/loop.txt",
        &format!("/{SCRIPT}/"),
        &format!("/{SCRIPT}/x"),
        &long,
        &deep,
    ] {
        let shown = &path[..path.len().min(60)];
        let answer = stage.get(path);
        assert!(!answer.text().contains(CANARY), "{shown} leads outside");
        assert!(!answer.text().contains("root:"), "{shown} leads outside");
        // `…/` may be the same file; whatever else is found was meant.
        let is_meant = answer.status == 200 && path == format!("/{SCRIPT}/");
        if !is_meant {
            assert!((400..500).contains(&answer.status), "{shown}: {answer:?}");
        }
        // Not even the app's page is at a path that cannot be one.
        let page = stage.send(&navigating(path));
        assert!(!page.text().contains(CANARY), "{shown} leads outside");
    }
}

fn reserved_paths_never_fall_through_to_the_app(stage: &Stage) {
    let answers = |path: &str| [stage.get(path), stage.send(&navigating(path))];
    for name in RESERVED {
        for answer in answers(&format!("/{name}")) {
            assert!(!answer.text().contains(CANARY), "{name}: the app's file");
            assert!(!answer.text().contains(INDEX), "{name}: the app's page");
        }
    }
    for path in [
        "/api",
        "/api/",
        "/api/x",
        "/api/images/covers/nothing-has-this-key-nothing-has-.png",
        "/api/upload-image",
        "/api/llm/chat",
        "/api/llm/x",
        "/v1",
        "/v1/x",
        "/v1/chat/completions",
        "/admin",
        "/admin/x",
        "/metrics",
        "/metrics/x",
        "/%61pi/x",
        "/%76%31/x",
        "/api%2fx",
        "/healthz/x",
    ] {
        for answer in answers(path) {
            is_nothing(path, &answer);
        }
    }
    for path in ["/healthz", "/readyz"] {
        for answer in answers(path) {
            assert_eq!((answer.status, &*answer.text()), (200, "ok\n"), "{path}");
        }
    }
}

fn files_are_only_read(stage: &Stage) {
    for method in ["POST", "PUT", "PATCH", "DELETE"] {
        for path in ["/", "/index.html", "/todos", &format!("/{SCRIPT}")] {
            let ask = Ask::new(method, path).with("accept", "text/html");
            let answer = stage.send(&ask);
            assert!(
                (400..500).contains(&answer.status),
                "{method} {path}: {answer:?}"
            );
            assert!(!answer.text().contains(INDEX), "{method} {path}");
        }
    }
}

fn i8_sync_works_where_the_app_is_served(stage: &Stage) {
    // At `/`, and at whatever path the app has.
    for path in [
        "/",
        "/index.html",
        "/todos",
        &format!("/{SCRIPT}"),
        "/api/images/x",
    ] {
        let store = new_store("app");
        let url = format!("{path}?storeId={store}&transport=ws");
        let mut socket = Socket::open(&stage.server, &url);
        socket.send(r#"{"_tag":"Ping"}"#);
        assert_eq!(socket.receive_json()["_tag"], "Pong", "{path}");
    }
    let store = new_store("app");
    let mut writer = Client::open(&stage.server, &store);
    let mut reader = Client::open(&stage.server, &store);
    let pull = reader.pull(true, None);
    writer.push_ok(&events(1, 3));
    assert_eq!(reader.numbers_until(&pull, 3), [1, 2, 3]);
    // Older clients, too.
    let mut socket = Socket::open(&stage.server, &format!("/websocket?storeId={store}"));
    socket.send(r#"{"_tag":"WSMessage.Ping","requestId":"ping"}"#);
    assert_eq!(socket.receive_json()["_tag"], "WSMessage.Pong");
    // And over HTTP.
    let ping = syncline_tests::rpc::request(
        "1",
        "SyncHttpRpc.Ping",
        serde_json::json!({"storeId": store}),
    );
    let ask = Ask::new("POST", &format!("/?storeId={store}&transport=http"))
        .with("content-type", "application/json");
    let answer = stage.send_with(&ask, ping.to_string());
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.text().contains("Exit"), "{answer:?}");
}

fn the_app_is_served_where_sync_is_asked_for_wrongly(stage: &Stage) {
    // Parameters of sync are sync's, whoever asks: no page is an answer to them.
    let store = new_store("app");
    for path in [
        format!("/?storeId={store}&transport=ws"),
        format!("/?storeId={store}&transport=http"),
        format!("/websocket?storeId={store}"),
        format!("/todos?storeId={store}&transport=nonsense"),
    ] {
        is_nothing(&path, &stage.send(&navigating(&path)));
    }
    // A socket without them is refused, and gets no page.
    for path in ["/", "/todos", "/index.html"] {
        let refused = Socket::try_open(&stage.server, path, &[]).err();
        assert_eq!(refused, Some(400), "{path}");
    }
}
