//! HTTP beside the protocol: what a person, a load balancer or a browser asks.

use serde_json::json;
use syncline_tests::http::{get, request};
use syncline_tests::rpc::{self, new_store};
use syncline_tests::scenarios;
use syncline_tests::server::Server;
use syncline_tests::socket::{Received, Socket};
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
            reserved_paths_are_reserved_for_what_does_not_sync,
            sync_parameters_win_over_reserved_paths,
            what_is_not_there_is_404,
            services_are_off_until_they_are_configured,
            a_websocket_endpoint_without_an_upgrade_is_426,
            bad_sync_parameters_are_400,
            options_are_204_for_allowed_origins,
            i6_websites_elsewhere_may_not_connect_without_auth,
            an_origin_is_the_servers_own_at_a_private_address,
            i6_a_name_that_leads_here_makes_no_website_the_servers_own,
            without_auth_the_instance_is_still_the_store,
            a_url_over_16_kb_is_414;
        OwnHttp Paced:
            what_the_operator_adds_stands_in_http_answers,
    ]
}

fn what_the_operator_adds_stands_in_http_answers(server: &Server) {
    let store = new_store("headers");
    let url = format!("/?storeId={store}&transport=http");
    for id in ["\"1\"", "1"] {
        let ping = format!(
            r#"{{"_tag":"Request","id":{id},"tag":"SyncHttpRpc.Ping","payload":{{"storeId":"{store}"}},"headers":[]}}"#
        );
        let answer = request(server, "POST", &url, &[], &ping);
        assert_eq!(answer.json()[0]["requestId"].to_string(), id);
        let header = answer.header("x-custom-header");
        assert_eq!(header, Some("of the operator's"));
    }
    assert_eq!(get(server, "/healthz").header("x-custom-header"), None);
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

/// First segments that a server keeps for itself.
const RESERVED: [&str; 6] = ["healthz", "readyz", "metrics", "admin", "api", "v1"];

fn reserved_paths_are_reserved_for_what_does_not_sync(server: &Server) {
    for path in RESERVED {
        let (status, post) = match path {
            "healthz" | "readyz" => (200, 405),
            _ => (404, 404),
        };
        // Half of what a sync request says is none.
        for query in ["", "?storeId=a", "?transport=ws", "?storeid=a&transport=ws"] {
            let url = format!("/{path}{query}");
            assert_eq!(get(server, &url).status, status, "{url}");
            assert_eq!(
                request(server, "POST", &url, &[], "{}").status,
                post,
                "{url}"
            );
            let upgrade = Socket::try_open(server, &url, &[]);
            assert_eq!(upgrade.err(), Some(status), "{url}");
            let below = format!("/{path}/x{query}");
            assert_eq!(get(server, &below).status, 404, "{below}");
        }
        let v3 = format!("/{path}/websocket");
        assert_eq!(Socket::try_open(server, &v3, &[]).err(), Some(404), "{v3}");
    }
}

fn sync_parameters_win_over_reserved_paths(server: &Server) {
    for path in RESERVED {
        for path in [
            format!("/{path}"),
            format!("/{path}/"),
            format!("/{path}/sync"),
        ] {
            let store = new_store("reserved");
            let v4 = format!("{path}?storeId={store}&transport=ws");
            let v3 = format!("{}/websocket?storeId={store}", path.trim_end_matches('/'));
            let mut socket = Socket::open(server, &v4);
            socket.send(r#"{"_tag":"Ping"}"#);
            assert_eq!(socket.receive_json()["_tag"], "Pong", "{v4}");
            let mut socket = Socket::open(server, &v3);
            socket.send(r#"{"_tag":"WSMessage.Ping","requestId":"ping"}"#);
            assert_eq!(socket.receive_json()["_tag"], "WSMessage.Pong", "{v3}");
            let url = format!("{path}?transport=http&storeId={store}");
            let ping = rpc::request("1", "SyncHttpRpc.Ping", json!({"storeId": store}));
            let origin = [("origin", "https://app.example.com")];
            let answer = request(server, "POST", &url, &origin, &ping.to_string());
            assert_eq!(answer.status, 200, "{url}");
            assert_eq!(answer.json()[0]["exit"]["_tag"], "Success", "{url}");
            // A browser asks before it sends.
            let answer = request(server, "OPTIONS", &url, &origin, "");
            assert_eq!(answer.status, 204, "{url}");
            // Who gets it wrong is told as at every other path.
            assert_eq!(get(server, &v4).status, 426, "{v4}");
            assert_eq!(get(server, &url).status, 405, "{url}");
        }
    }
}

fn what_is_not_there_is_404(server: &Server) {
    for path in ["/foo", "/foo/bar?x=1", "/index.html"] {
        let response = get(server, path);
        assert_eq!(response.status, 404, "{path}");
        assert_eq!(response.json()["code"], "NOT_FOUND");
    }
}

fn services_are_off_until_they_are_configured(server: &Server) {
    for (method, path) in [
        ("POST", "/api/upload-image"),
        (
            "GET",
            "/api/images/covers/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.png",
        ),
        (
            "DELETE",
            "/api/images/covers/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.png",
        ),
        ("POST", "/api/llm/chat"),
        ("POST", "/v1/chat/completions"),
        ("GET", "/v1/models"),
    ] {
        let headers = [("content-type", "application/json")];
        let body = if method == "POST" { "{}" } else { "" };
        let response = request(server, method, path, &headers, body);
        assert_eq!(response.status, 404, "{method} {path}");
        let answer = response.json();
        let error = if path.starts_with("/v1/") {
            &answer["error"]
        } else {
            &answer
        };
        assert_eq!(error["code"], "NOT_FOUND", "{method} {path}: {answer}");
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
        "http://localhost:evil.example",
        "http://[::1]:evil.example",
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

/// What becomes of a request with this `Origin` and this `Host`, over either
/// transport: whether it is served.
fn is_served(server: &Server, origin: &str, host: &str) -> bool {
    let store = new_store("own-origin");
    let headers = [("origin", origin), ("host", host)];
    let url = format!("/?storeId={store}&transport=ws");
    let mut socket = Socket::try_open(server, &url, &headers)
        .unwrap_or_else(|status| panic!("{origin} at {host}: {status}"));
    // Lost when the close is there already.
    let _ = socket.try_send(r#"{"_tag":"Ping"}"#.to_owned());
    let over_ws = match socket.receive() {
        Received::Text(pong) => pong.contains("Pong"),
        close => {
            assert_eq!(close, Received::Closed(4403, "FORBIDDEN".to_owned()));
            false
        }
    };
    let http = format!("/?storeId={store}&transport=http");
    let ping = rpc::request("1", "SyncHttpRpc.Ping", json!({"storeId": store}));
    let status = request(server, "POST", &http, &headers, &ping.to_string()).status;
    assert_eq!(
        status,
        if over_ws { 200 } else { 403 },
        "{origin} at {host}"
    );
    over_ws
}

fn an_origin_is_the_servers_own_at_a_private_address(server: &Server) {
    for (origin, host) in [
        ("http://10.0.2.2:8787", "10.0.2.2:8787"),
        ("http://192.168.1.20:8787", "192.168.1.20:8787"),
        ("https://172.16.1.1", "172.16.1.1"),
        ("https://172.16.1.1:443", "172.16.1.1"),
        ("ws://169.254.1.1:8787", "169.254.1.1:8787"),
        ("http://[fd00::1]:8787", "[FD00::1]:8787"),
        ("http://[fe80::1]", "[fe80::1]"),
        ("HTTP://LOCALHOST:8787", "localhost:8787"),
    ] {
        assert!(is_served(server, origin, host), "{origin} at {host}");
    }
}

fn i6_a_name_that_leads_here_makes_no_website_the_servers_own(server: &Server) {
    for (origin, host) in [
        // Its own name, which it has made to lead here.
        ("http://evil.example:8787", "evil.example:8787"),
        ("http://evil.example", "evil.example"),
        ("http://127.0.0.1.evil.example", "127.0.0.1.evil.example"),
        ("http://10-0-2-2.evil.example", "10-0-2-2.evil.example"),
        // Others than the server.
        ("http://evil.example", "10.0.2.2"),
        ("http://10.0.2.2:5173", "10.0.2.2:8787"),
        ("http://10.0.2.3:8787", "10.0.2.2:8787"),
        ("http://10.0.2.2.evil.example:8787", "10.0.2.2:8787"),
        ("http://10.0.2.2@evil.example", "10.0.2.2"),
        ("http://8.8.8.8:8787", "8.8.8.8:8787"),
        ("http://10.0.2.2:evil", "10.0.2.2"),
    ] {
        assert!(!is_served(server, origin, host), "{origin} at {host}");
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
