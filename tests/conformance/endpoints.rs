//! HTTP beside the protocol: what a person, a load balancer or a browser asks.

use syncline_tests::http::{get, request};
use syncline_tests::rpc::new_store;
use syncline_tests::scenarios;
use syncline_tests::server::Server;
use syncline_tests::socket::Socket;
use syncline_tests::suite::Scenario;

pub fn scenarios() -> Vec<Scenario> {
    scenarios![
        V4 Open:
            the_root_says_what_this_is,
            any_path_with_sync_parameters_syncs;
        OwnHttp Auth:
            a_browser_is_told_that_tokens_are_required;
        OwnHttp Open:
            a_browser_is_told_what_this_is_and_how_to_connect,
            who_does_not_ask_for_html_gets_two_lines,
            health_and_readiness_are_answered,
            reserved_paths_win_over_sync_parameters,
            what_is_not_there_is_404,
            a_websocket_endpoint_without_an_upgrade_is_426,
            bad_sync_parameters_are_400,
            options_are_204_for_allowed_origins,
            i6_websites_elsewhere_may_not_connect_without_auth,
            without_auth_the_instance_is_still_the_store,
            a_url_over_16_kb_is_414,
    ]
}

fn the_root_says_what_this_is(server: &Server) {
    let response = get(server, "/");
    assert_eq!(response.status, 200);
    assert!(response.body.contains("ync"), "{}", response.body);
}

/// What Firefox sends.
const BROWSER: (&str, &str) = (
    "accept",
    "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
);

/// The page, as a browser gets it.
fn page(server: &Server) -> String {
    let response = request(server, "GET", "/", &[BROWSER], "");
    assert_eq!(response.status, 200);
    let header = |name| response.header(name).unwrap_or_default();
    assert_eq!(header("content-type"), "text/html; charset=utf-8");
    // Whatever the page says, it loads and runs nothing.
    let policy = header("content-security-policy");
    for part in [
        "default-src 'none'",
        "frame-ancestors 'none'",
        "form-action 'none'",
        "base-uri 'none'",
    ] {
        assert!(policy.contains(part), "{policy}");
    }
    let vary = response.headers.iter().any(|(name, value)| {
        name == "vary" && value.split(',').any(|what| what.trim() == "accept")
    });
    assert!(vary, "{:?}", response.headers);
    for outside in ["<script", "stylesheet", "<img", "src=", "@import", "url("] {
        assert!(!response.body.contains(outside), "{outside}");
    }
    response.body
}

fn a_browser_is_told_what_this_is_and_how_to_connect(server: &Server) {
    let page = page(server);
    for words in [
        "<!doctype html>",
        "sync backend",
        "livestore.dev",
        // Clients and their versions.
        "0.4",
        "makeWsSync",
        "makeHttpSync",
        "adapter-cloudflare",
        "0.3",
        "makeCfSync",
        // Hosts.
        "Cloudflare Workers",
        "syncline serve",
        // How to connect.
        "@livestore/sync-cf/client",
        "wss://",
        "storeId",
        "No tokens are required",
        "/readyz",
    ] {
        assert!(page.contains(words), "{words}: {page}");
    }
    assert!(!page.contains("authToken"), "{page}");
    let head = request(server, "HEAD", "/", &[BROWSER], "");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
}

fn a_browser_is_told_that_tokens_are_required(server: &Server) {
    let page = page(server);
    for words in ["Tokens are required", "authToken", "instanceId", "4401"] {
        assert!(page.contains(words), "{words}: {page}");
    }
    assert!(!page.contains("No tokens are required"), "{page}");
}

fn who_does_not_ask_for_html_gets_two_lines(server: &Server) {
    for accept in ["*/*", "application/json", "text/plain", "text/html;q=0"] {
        let response = request(server, "GET", "/", &[("accept", accept)], "");
        assert_eq!(response.status, 200, "{accept}");
        assert_eq!(
            response.header("content-type"),
            Some("text/plain; charset=utf-8"),
            "{accept}"
        );
        assert_eq!(response.body.lines().count(), 2, "{}", response.body);
    }
}

fn any_path_with_sync_parameters_syncs(server: &Server) {
    for path in ["/", "/some/path", "/websocket"] {
        let url = format!("{path}?storeId={}&transport=ws&x=1", new_store("path"));
        let mut socket = Socket::open(server, &url);
        socket.send(r#"{"_tag":"Ping"}"#);
        assert_eq!(socket.receive_json()["_tag"], "Pong");
    }
}

fn health_and_readiness_are_answered(server: &Server) {
    for path in ["/healthz", "/readyz"] {
        assert_eq!(get(server, path).status, 200, "{path}");
        assert_eq!(request(server, "HEAD", path, &[], "").status, 200, "{path}");
        assert_eq!(
            request(server, "POST", path, &[], "x").status,
            405,
            "{path}"
        );
    }
}

fn reserved_paths_win_over_sync_parameters(server: &Server) {
    for path in ["/healthz", "/readyz"] {
        let url = format!("{path}?storeId=a&transport=ws");
        assert_eq!(get(server, &url).status, 200, "{url}");
        assert_eq!(
            Socket::try_open(server, &url, &[]).err(),
            Some(200),
            "{url}"
        );
    }
    for path in [
        "/metrics",
        "/admin",
        "/api",
        "/v1",
        "/v1/stores",
        "/api/images/x",
    ] {
        let url = format!("{path}?storeId=a&transport=ws");
        assert_eq!(get(server, &url).status, 404, "{url}");
        assert_eq!(
            Socket::try_open(server, &url, &[]).err(),
            Some(404),
            "{url}"
        );
    }
}

fn what_is_not_there_is_404(server: &Server) {
    for path in ["/foo", "/foo/bar?x=1", "/index.html"] {
        let response = get(server, path);
        assert_eq!(response.status, 404, "{path}");
        assert_eq!(response.json()["code"], "NOT_FOUND");
    }
}

fn a_websocket_endpoint_without_an_upgrade_is_426(server: &Server) {
    for url in [
        "/websocket",
        "/websocket?storeId=a",
        "/sub/websocket?storeId=a",
        "/?storeId=a&transport=ws",
    ] {
        let response = get(server, url);
        assert_eq!(response.status, 426, "{url}");
        assert_eq!(response.json()["code"], "UPGRADE_REQUIRED");
    }
}

fn bad_sync_parameters_are_400(server: &Server) {
    let long = format!("/?storeId={}&transport=ws", "x".repeat(513));
    for url in [
        "/?transport=ws",
        "/?storeId=&transport=ws",
        "/?storeId=a&transport=carrier-pigeon",
        "/?storeId=a&storeId=b&transport=ws",
        "/?storeId=a",
        "/websocket?x=1",
        "/?storeId=a&transport=ws&payload=notjson",
        &long,
    ] {
        assert_eq!(Socket::try_open(server, url, &[]).err(), Some(400), "{url}");
    }
    let post = request(server, "POST", "/?transport=http", &[], "{}");
    assert_eq!(
        (post.status, &post.json()["code"]),
        (400, &"INVALID_REQUEST".into())
    );
    let other = get(server, "/?storeId=a&transport=http");
    assert_eq!(other.status, 405);
}

fn options_are_204_for_allowed_origins(server: &Server) {
    for path in ["/", "/?storeId=a&transport=http", "/foo"] {
        let response = request(server, "OPTIONS", path, &[], "");
        assert_eq!(response.status, 204, "{path}");
        assert!(response.header("access-control-allow-methods").is_some());
    }
    let headers = [("origin", "https://evil.example")];
    let response = request(server, "OPTIONS", "/", &headers, "");
    assert_eq!(response.status, 403);
    assert_eq!(response.header("access-control-allow-origin"), None);
}

fn i6_websites_elsewhere_may_not_connect_without_auth(server: &Server) {
    let store = new_store("origin");
    let url = format!("/?storeId={store}&transport=ws");
    for origin in [
        "https://evil.example",
        "null",
        "http://localhost.evil.example",
    ] {
        let mut socket = Socket::try_open(server, &url, &[("origin", origin)])
            .expect("the upgrade is accepted, to tell why it is refused");
        assert_eq!(
            socket.receive_close(),
            (4403, "FORBIDDEN".to_owned()),
            "{origin}"
        );
        let headers = [("origin", origin)];
        let http = format!("/?storeId={store}&transport=http");
        assert_eq!(
            request(server, "POST", &http, &headers, "{}").status,
            403,
            "{origin}"
        );
    }
    for origin in [
        "http://localhost:3000",
        "http://127.0.0.1",
        "https://app.example.com",
    ] {
        let mut socket = Socket::try_open(server, &url, &[("origin", origin)])
            .unwrap_or_else(|status| panic!("{origin}: {status}"));
        socket.send(r#"{"_tag":"Ping"}"#);
        assert_eq!(socket.receive_json()["_tag"], "Pong", "{origin}");
    }
}

fn without_auth_the_instance_is_still_the_store(server: &Server) {
    let store = new_store("instance");
    let url = |instance: &str| {
        format!("/?storeId={store}&transport=ws&payload=%7B%22instanceId%22%3A%22{instance}%22%7D")
    };
    let mut right = Socket::open(server, &url(&store));
    right.send(r#"{"_tag":"Ping"}"#);
    assert_eq!(right.receive_json()["_tag"], "Pong");
    let mut wrong = Socket::open(server, &url("another"));
    assert_eq!(wrong.receive_close(), (4403, "FORBIDDEN".to_owned()));
}

fn a_url_over_16_kb_is_414(server: &Server) {
    let url = format!("/?storeId=a&transport=ws&payload={}", "x".repeat(17_000));
    assert_eq!(get(server, &url).status, 414);
}
