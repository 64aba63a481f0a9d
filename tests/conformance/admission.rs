//! Admission with tokens (I6): who may enter, and how the others are told.

use jwt_simple::prelude::{Claims, Duration, HS256Key, HS512Key, MACLike};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use syncline_tests::http::{get, request as http_request};
use syncline_tests::profile::{
    BYPASS_TOKEN, GRACE_PERIOD_SECONDS, JWT_SECRET, REVOKED_USER, REVOKED_VERSION,
};
use syncline_tests::rpc::{failure, new_store, request};
use syncline_tests::scenarios;
use syncline_tests::server::Server;
use syncline_tests::socket::Socket;
use syncline_tests::suite::Scenario;
use syncline_tests::token::{now, sign, sign_as};

pub fn scenarios() -> Vec<Scenario> {
    scenarios![OwnHttp Auth:
        a_good_token_admits,
        a_payload_may_be_encoded_once_or_twice,
        i6_a_missing_token_is_token_missing,
        i6_a_token_without_an_instance_is_told_which_field_is_missing,
        i6_a_token_that_cannot_be_trusted_is_token_invalid,
        i6_a_token_without_its_claims_is_refused,
        i6_a_token_serves_until_its_grace_is_over,
        i5_a_token_admits_to_its_workspaces_alone,
        i6_a_stale_claims_version_is_refused,
        the_server_bypass_admits_with_an_instance,
        refused_http_requests_get_what_their_client_can_read,
        no_secret_is_ever_shown,
        public_paths_need_no_token,
        any_origin_may_connect_with_a_token,
    ]
}

/// The claims of a good token for `store`.
fn claims(store: &str) -> Value {
    json!({
        "userId": "user-1",
        "iat": now(),
        "exp": now() + 600,
        "workspaces": [{"id": "another", "role": "member"}, {"id": store, "role": "owner"}],
        "workspaceClaimsVersion": 1,
        "email": "user@example.com",
    })
}

fn with(mut claims: Value, key: &str, value: Value) -> Value {
    claims[key] = value;
    claims
}

fn without(mut claims: Value, key: &str) -> Value {
    claims.as_object_mut().unwrap().remove(key);
    claims
}

fn payload(token: &str, store: &str) -> Value {
    json!({"authToken": token, "instanceId": store})
}

fn url(store: &str, transport: &str, payload: Option<&Value>) -> String {
    let mut url = format!("/?storeId={store}&transport={transport}");
    if let Some(payload) = payload {
        let once = utf8_percent_encode(&payload.to_string(), NON_ALPHANUMERIC).to_string();
        let twice = utf8_percent_encode(&once, NON_ALPHANUMERIC).to_string();
        url.push_str(&format!("&payload={twice}"));
    }
    url
}

const PING: &str = r#"{"_tag":"Ping"}"#;

fn admits(server: &Server, url: &str) {
    let mut socket = Socket::open(server, url);
    socket.send(PING);
    assert_eq!(socket.receive_json()["_tag"], "Pong");
}

/// Sees both transports refuse alike; and 0.3, which is another URL.
fn refuses(server: &Server, store: &str, payload: Option<&Value>, code: &str) {
    refuses_with(server, store, payload, code, code);
}

/// The same where a close says more than the code. Returns the message that
/// an HTTP client gets.
fn refuses_with(
    server: &Server,
    store: &str,
    payload: Option<&Value>,
    code: &str,
    reason: &str,
) -> String {
    let (status, close) = match code {
        "FORBIDDEN" => (403, 4403),
        "AUTH_SERVICE_ERROR" => (503, 1013),
        _ => (401, 4401),
    };
    let ws = url(store, "ws", payload);
    for url in [
        ws.clone(),
        ws.replace("/?", "/websocket?").replace("&transport=ws", ""),
    ] {
        let mut socket = Socket::open(server, &url);
        assert_eq!(
            socket.receive_close(),
            (close, reason.to_owned()),
            "{payload:?}"
        );
    }
    let ping = request("42", "SyncHttpRpc.Ping", json!({"storeId": store})).to_string();
    let response = http_request(server, "POST", &url(store, "http", payload), &[], &ping);
    assert_eq!(response.status, status, "{payload:?}");
    let frame = &response.json()[0];
    assert_eq!(frame["requestId"], "42");
    let payload = &failure(&frame["exit"])["payload"];
    assert_eq!(payload["code"], code);
    payload["message"].as_str().unwrap().to_owned()
}

fn refuses_token(server: &Server, store: &str, token: &str, code: &str) {
    refuses(server, store, Some(&payload(token, store)), code);
}

fn a_good_token_admits(server: &Server) {
    let store = new_store("good");
    let token = sign(&claims(&store), JWT_SECRET);
    let good = payload(&token, &store);
    admits(server, &url(&store, "ws", Some(&good)));
    let ping = request("1", "SyncHttpRpc.Ping", json!({"storeId": store})).to_string();
    let response = http_request(
        server,
        "POST",
        &url(&store, "http", Some(&good)),
        &[],
        &ping,
    );
    assert_eq!(response.status, 200);
    assert_eq!(response.json()[0]["exit"]["_tag"], "Success");
    // As jwt-simple and other libraries write them.
    let custom = json!({"userId": "u", "workspaceClaimsVersion": 1, "workspaces": [{"id": store, "role": "r"}]});
    let token = HS256Key::from_bytes(JWT_SECRET.as_bytes())
        .authenticate(Claims::with_custom_claims(custom, Duration::from_mins(5)))
        .unwrap();
    admits(server, &url(&store, "ws", Some(&payload(&token, &store))));
}

fn a_payload_may_be_encoded_once_or_twice(server: &Server) {
    let store = new_store("encoded");
    let token = sign(&claims(&store), JWT_SECRET);
    let json = payload(&token, &store).to_string();
    let once = utf8_percent_encode(&json, NON_ALPHANUMERIC).to_string();
    admits(
        server,
        &format!("/?storeId={store}&transport=ws&payload={once}"),
    );
    admits(server, &url(&store, "ws", Some(&payload(&token, &store))));
}

fn i6_a_missing_token_is_token_missing(server: &Server) {
    let store = new_store("missing");
    for (payload, names_both) in [
        (None, true),
        (Some(json!({})), true),
        (Some(json!(null)), true),
        (Some(json!({"instanceId": store})), false),
        (Some(json!({"authToken": null, "instanceId": store})), false),
    ] {
        let code = "TOKEN_MISSING";
        let message = refuses_with(server, &store, payload.as_ref(), code, code);
        assert!(message.contains("`authToken`"), "{message}");
        assert_eq!(message.contains("`instanceId`"), names_both, "{message}");
    }
}

/// What LiveStore's documentation sends.
fn i6_a_token_without_an_instance_is_told_which_field_is_missing(server: &Server) {
    let store = new_store("no-instance");
    let token = sign(&claims(&store), JWT_SECRET);
    for payload in [
        json!({"authToken": token}),
        json!({"authToken": token, "instanceId": null}),
        // Nor does it say whether the token is any good.
        json!({"authToken": "x"}),
        json!({"serverBypass": BYPASS_TOKEN}),
    ] {
        let reason = "TOKEN_MISSING instanceId";
        let message = refuses_with(server, &store, Some(&payload), "TOKEN_MISSING", reason);
        assert!(message.contains("no `instanceId`"), "{message}");
        assert!(message.contains("`storeId`"), "{message}");
    }
}

fn i6_a_token_that_cannot_be_trusted_is_token_invalid(server: &Server) {
    let store = new_store("invalid");
    let good = sign(&claims(&store), JWT_SECRET);
    let (signed, _) = good.rsplit_once('.').unwrap();
    let hs512 = HS512Key::from_bytes(JWT_SECRET.as_bytes())
        .authenticate(Claims::with_custom_claims(
            claims(&store),
            Duration::from_mins(5),
        ))
        .unwrap();
    let untrusted = [
        "".to_owned(),
        "x".to_owned(),
        "a.b.c".to_owned(),
        "..".to_owned(),
        sign(&claims(&store), "another-secret-of-more-than-32-bytes"),
        sign(&claims(&store), ""),
        format!("{signed}."),
        signed.to_owned(),
        format!("{good}x"),
        format!("{good}.x"),
        format!("{good}="),
        hs512,
        sign_as(&json!({"alg": "none"}), &claims(&store), JWT_SECRET),
        sign_as(
            &json!({"alg": "None", "typ": "JWT"}),
            &claims(&store),
            JWT_SECRET,
        ),
        sign_as(
            &json!({"alg": "HS512", "typ": "JWT"}),
            &claims(&store),
            JWT_SECRET,
        ),
        sign_as(
            &json!({"alg": "RS256", "typ": "JWT"}),
            &claims(&store),
            JWT_SECRET,
        ),
        sign_as(&json!({"typ": "JWT"}), &claims(&store), JWT_SECRET),
        sign(
            &with(claims(&store), "nbf", json!(now() + 3_600)),
            JWT_SECRET,
        ),
        sign(&json!("text"), JWT_SECRET),
    ];
    for token in untrusted {
        refuses_token(server, &store, &token, "TOKEN_INVALID");
    }
    let wrong_type = json!({"authToken": 5, "instanceId": store});
    refuses(server, &store, Some(&wrong_type), "TOKEN_INVALID");
    // An unreadable payload holds no token either.
    let mut socket = Socket::open(
        server,
        &format!("/?storeId={store}&transport=ws&payload=notjson"),
    );
    assert_eq!(socket.receive_close(), (4401, "TOKEN_INVALID".to_owned()));
}

fn i6_a_token_without_its_claims_is_refused(server: &Server) {
    let store = new_store("claims");
    for key in ["userId", "exp", "workspaceClaimsVersion"] {
        let token = sign(&without(claims(&store), key), JWT_SECRET);
        refuses_token(server, &store, &token, "TOKEN_INVALID");
    }
    for (key, value) in [
        ("userId", json!(5)),
        ("userId", json!("")),
        ("exp", json!("soon")),
        ("exp", json!(-5)),
        ("workspaceClaimsVersion", json!("1")),
        ("workspaceClaimsVersion", json!(-1)),
        ("workspaces", json!("all")),
        ("workspaces", json!([5])),
    ] {
        let token = sign(&with(claims(&store), key, value), JWT_SECRET);
        refuses_token(server, &store, &token, "TOKEN_INVALID");
    }
    for claims in [
        without(claims(&store), "workspaces"),
        with(claims(&store), "workspaces", json!([])),
    ] {
        refuses_token(server, &store, &sign(&claims, JWT_SECRET), "FORBIDDEN");
    }
}

fn i6_a_token_serves_until_its_grace_is_over(server: &Server) {
    let store = new_store("grace");
    let expiring = |exp: Value| sign(&with(claims(&store), "exp", exp), JWT_SECRET);
    for exp in [
        json!(now() - 10),
        json!(now() - GRACE_PERIOD_SECONDS + 60),
        json!(9_999_999_999_u64),
        json!((now() + 60) as f64 + 0.5),
    ] {
        admits(
            server,
            &url(&store, "ws", Some(&payload(&expiring(exp), &store))),
        );
    }
    for exp in [json!(now() - GRACE_PERIOD_SECONDS - 60), json!(1), json!(0)] {
        refuses_token(server, &store, &expiring(exp), "GRACE_PERIOD_EXPIRED");
    }
}

fn i5_a_token_admits_to_its_workspaces_alone(server: &Server) {
    let (store, other) = (new_store("ours"), new_store("theirs"));
    let token = sign(&claims(&store), JWT_SECRET);
    // Another store, openly, or with an instanceId that the token covers.
    refuses_token(server, &other, &token, "FORBIDDEN");
    refuses(server, &other, Some(&payload(&token, &store)), "FORBIDDEN");
    refuses(server, &store, Some(&payload(&token, &other)), "FORBIDDEN");
    for odd in [json!(5), json!([store])] {
        let payload = json!({"authToken": token, "instanceId": odd});
        refuses(server, &store, Some(&payload), "FORBIDDEN");
    }
}

fn i6_a_stale_claims_version_is_refused(server: &Server) {
    let store = new_store("stale");
    let versioned = |version: u64| {
        let claims = with(claims(&store), "userId", json!(REVOKED_USER));
        sign(
            &with(claims, "workspaceClaimsVersion", json!(version)),
            JWT_SECRET,
        )
    };
    refuses_token(
        server,
        &store,
        &versioned(REVOKED_VERSION - 1),
        "TOKEN_VERSION_STALE",
    );
    for version in [REVOKED_VERSION, REVOKED_VERSION + 1] {
        admits(
            server,
            &url(&store, "ws", Some(&payload(&versioned(version), &store))),
        );
    }
}

fn the_server_bypass_admits_with_an_instance(server: &Server) {
    let store = new_store("bypass");
    let bypass = |token: &str| json!({"serverBypass": token, "instanceId": store});
    admits(server, &url(&store, "ws", Some(&bypass(BYPASS_TOKEN))));
    refuses(server, &store, Some(&bypass("wrong")), "TOKEN_INVALID");
    refuses(server, &store, Some(&bypass("")), "TOKEN_INVALID");
    refuses(
        server,
        &store,
        Some(&json!({"serverBypass": true, "instanceId": store})),
        "TOKEN_INVALID",
    );
    let elsewhere = json!({"serverBypass": BYPASS_TOKEN, "instanceId": "another"});
    refuses(server, &store, Some(&elsewhere), "FORBIDDEN");
}

fn refused_http_requests_get_what_their_client_can_read(server: &Server) {
    let store = new_store("readable");
    let url = url(&store, "http", None);
    // Without a request id to name, the refusal itself.
    for body in ["{}", "[]", "not json", r#"{"_tag":"Request","id":{}}"#] {
        let response = http_request(server, "POST", &url, &[], body);
        assert_eq!(response.status, 401);
        assert_eq!(response.json()["code"], "TOKEN_MISSING", "{body}");
        assert!(response.json()["message"].is_string());
    }
    let headers = [("origin", "https://app.example.com")];
    let response = http_request(server, "POST", &url, &headers, "{}");
    assert_eq!(
        response.header("access-control-allow-origin"),
        Some("https://app.example.com"),
        "or a browser could not read it"
    );
}

fn no_secret_is_ever_shown(server: &Server) {
    let store = new_store("secrets");
    let token = sign(&claims(&store), "another-secret-of-more-than-32-bytes");
    let ping = request("1", "SyncHttpRpc.Ping", json!({"storeId": store})).to_string();
    for payload in [
        payload(&token, &store),
        json!({"serverBypass": "guess-1234", "instanceId": store}),
    ] {
        let response = http_request(
            server,
            "POST",
            &url(&store, "http", Some(&payload)),
            &[],
            &ping,
        );
        for secret in [
            JWT_SECRET,
            BYPASS_TOKEN,
            &token,
            "guess-1234",
            "user-1",
            "user@example.com",
        ] {
            assert!(!response.body.contains(secret), "{}", response.body);
        }
    }
}

fn public_paths_need_no_token(server: &Server) {
    for path in ["/", "/healthz", "/readyz"] {
        assert_eq!(get(server, path).status, 200, "{path}");
    }
}

fn any_origin_may_connect_with_a_token(server: &Server) {
    let store = new_store("any-origin");
    let token = sign(&claims(&store), JWT_SECRET);
    let url = url(&store, "ws", Some(&payload(&token, &store)));
    let socket = Socket::try_open(server, &url, &[("origin", "https://anywhere.example")]);
    let mut socket = socket.unwrap_or_else(|status| panic!("{status}"));
    socket.send(PING);
    assert_eq!(socket.receive_json()["_tag"], "Pong");
}
