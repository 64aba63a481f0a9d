//! Who may ask, and how.

use super::*;
use crate::services::fake_host::{BYPASS, Counted, token};

fn admitted(host: &mut FakeHost, request: &Request) -> Verdict {
    let config = Ok(host.config());
    admit(host, &config, request).verdict
}

/// The status and code of a refusal, in either form.
fn refused(verdict: Verdict) -> (u16, String) {
    let Verdict::Respond(response) = verdict else {
        panic!("{verdict:?}");
    };
    let body: Value = serde_json::from_str(&response.body).unwrap();
    let code = body.get("code").unwrap_or(&body["error"]["code"]);
    (response.status, code.as_str().unwrap().to_owned())
}

#[test]
fn the_proxy_is_off_until_there_is_an_upstream() {
    let mut host = FakeHost::new(&[]);
    for path in [OPENAI, API, MODELS_PATH] {
        let verdict = admitted(&mut host, &request("POST", path, &[JSON]));
        assert_eq!(refused(verdict), of(404, Code::NotFound));
    }
}

#[test]
fn only_json_is_taken_and_that_before_anything() {
    let mut host = FakeHost::with_tokens(&ON);
    for path in [OPENAI, API] {
        for media in [
            "",
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "application/jsonp",
            "text/plain; application/json",
            "application/json, text/plain",
        ] {
            let odd = request("POST", path, &[("content-type", media)]);
            let verdict = admitted(&mut host, &odd);
            assert_eq!(
                refused(verdict),
                of(415, Code::UnsupportedMediaType),
                "{media}"
            );
        }
        let bare = request("POST", path, &[]);
        let verdict = admitted(&mut host, &bare);
        assert_eq!(refused(verdict), of(415, Code::UnsupportedMediaType));
        let json = ("content-type", "Application/JSON ; charset=utf-8");
        let verdict = admitted(&mut host, &request("POST", path, &[json]));
        assert_eq!(refused(verdict), of(401, Code::TokenMissing));
    }
}

#[test]
fn no_other_website_asks_where_no_tokens_are_required() {
    let mut host = FakeHost::new(&ON);
    for path in [OPENAI, API] {
        let foreign = request("POST", path, &[JSON, ("origin", "https://evil.example")]);
        let verdict = admitted(&mut host, &foreign);
        assert!(matches!(
            verdict,
            Verdict::Refuse { refused, .. } if refused.code == Code::Forbidden
        ));
        let own = request("POST", path, &[JSON, ("origin", "http://localhost:5173")]);
        assert!(matches!(
            admitted(&mut host, &own),
            Verdict::Serve(Service::Relay(_))
        ));
    }
}

#[test]
fn only_posts_ask() {
    let mut host = FakeHost::new(&ON);
    for (method, path, allowed) in [
        ("GET", OPENAI, "POST"),
        ("PUT", API, "POST"),
        ("POST", MODELS_PATH, "GET, HEAD"),
    ] {
        let verdict = admitted(&mut host, &request(method, path, &[JSON]));
        let Verdict::Respond(response) = verdict else {
            panic!("{method} {path}");
        };
        assert_eq!(response.status, 405);
        assert_eq!(header(&response.headers, "allow"), Some(allowed));
    }
}

#[test]
fn the_models_are_listed_in_openais_form_for_who_may_ask() {
    let mut host = FakeHost::with_tokens(&ON);
    let bare = request("GET", MODELS_PATH, &[]);
    assert_eq!(
        refused(admitted(&mut host, &bare)),
        of(401, Code::TokenMissing)
    );
    let bearer = format!("Bearer {BYPASS}");
    let listed = request("GET", MODELS_PATH, &[("authorization", &bearer)]);
    let Verdict::Respond(response) = admitted(&mut host, &listed) else {
        panic!("refused");
    };
    let body: Value = serde_json::from_str(&response.body).unwrap();
    assert_eq!((response.status, &body["object"]), (200, &"list".into()));
    assert_eq!(body["data"][0]["id"], "small");
    assert_eq!(body["data"][1]["id"], "large");
}

#[test]
fn each_user_has_quotas_of_its_own() {
    let mut host = FakeHost::with_tokens(&ON);
    let config = host.config();
    for bearer in [token("(server)", &[]), token("ann", &[]), BYPASS.to_owned()] {
        let bearer = format!("Bearer {bearer}");
        let asks = request("POST", OPENAI, &[JSON, ("authorization", &bearer)]);
        let Verdict::Serve(Service::Relay(relay)) = admitted(&mut host, &asks) else {
            panic!("refused");
        };
        let step = begin(
            &mut host,
            &config,
            &relay.context,
            Ok(ASK.as_bytes().to_vec()),
        );
        assert!(matches!(step, Step::Call(_)));
    }
    let users: Vec<&str> = host
        .counted
        .iter()
        .filter_map(|it| match it {
            Counted::Hold(user, _) => Some(user.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(users, ["user:(server)", "user:ann", "(server)"]);
}
