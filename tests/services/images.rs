//! Images: uploads by who may, of what is one; how they are given out; and who
//! may delete them.

mod bucket;
mod delivery;
mod hostile;
mod multipart;
mod removal;
mod unread;

use serde_json::{Value, json};
use syncline_tests::exchange::{Answer, Ask};
use syncline_tests::profile::{BYPASS_TOKEN, JWT_SECRET, REVOKED_USER};
use syncline_tests::token::{now, sign};

use crate::callers::{User, claims};
use crate::picture::{Form, content_type, kinds, png};
use crate::scenarios;
use crate::stage::{Host, IMAGES_URL, ORIGIN, Profile, Stage};
use crate::{Scenario, picture};

pub fn scenarios() -> Vec<Scenario> {
    // The one that waits longest first.
    let mut all = hostile::scenarios();
    all.extend(scenarios![
        Tokens:
            an_image_is_stored_under_a_key_that_nobody_guesses,
            its_type_is_told_by_its_content,
            every_upload_has_a_key_of_its_own,
            who_has_no_token_uploads_nothing,
            an_upload_is_for_a_workspace_of_the_tokens,
            i6_websites_elsewhere_upload_nothing;
        Open:
            without_a_public_url_the_server_gives_images_out_itself,
            i6_websites_elsewhere_upload_nothing_without_tokens,
    ]);
    all.extend(delivery::scenarios());
    all.extend(removal::scenarios());
    all.extend(multipart::scenarios());
    all
}

/// Of what wasmtime alone has.
pub fn of_wasmtime() -> Vec<Scenario> {
    let mut all = bucket::of_wasmtime();
    all.extend(unread::of_wasmtime());
    all
}

const UPLOAD: &str = "/api/upload-image";

/// An upload's request.
fn uploading(user: &User) -> Ask {
    user.ask("POST", UPLOAD)
        .with("content-type", &content_type())
}

fn upload(stage: &Stage, user: &User, form: Form) -> Answer {
    stage.send_with(&uploading(user), form.end())
}

/// The key of an upload that succeeded.
fn key_of(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["key"].as_str().expect("a key").to_owned()
}

/// Uploads an image; its path.
fn uploaded(stage: &Stage, user: &User, file: &[u8]) -> String {
    let answer = upload(stage, user, Form::with_file(file));
    format!("/api/images/{}", key_of(&answer))
}

/// A refusal in the form that the reference's client reads.
#[track_caller]
fn refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    let error = answer.json();
    assert_eq!(error["code"], code, "{error}");
    let words = error["error"].as_str().expect("a text");
    assert!(words.len() > 10, "{words} says what to do");
    assert_eq!(error.as_object().map(serde_json::Map::len), Some(2));
    assert_eq!(
        answer.header("content-type").as_deref(),
        Some("application/json")
    );
}

/// What the object store holds, where it can be looked into: a directory.
fn stored(stage: &Stage) -> Option<Vec<std::path::PathBuf>> {
    fn walk(dir: &std::path::Path, found: &mut Vec<std::path::PathBuf>) {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            match entry.path() {
                path if path.is_dir() => walk(&path, found),
                path => found.push(path),
            }
        }
    }
    let mut found = Vec::new();
    let dir = match stage.host {
        Host::Wasmtime => stage.dir().join("images"),
        Host::Workerd => return None,
    };
    walk(&dir, &mut found);
    Some(found)
}

fn an_image_is_stored_under_a_key_that_nobody_guesses(stage: &Stage) {
    let user = stage.user("uploader");
    let answer = upload(stage, &user, Form::with_file(&png()));
    let key = key_of(&answer);
    let random = key.strip_prefix("covers/").expect("the prefix");
    let random = random.strip_suffix(".png").expect("its type");
    assert_eq!(random.len(), 32, "{key}");
    let is_url_safe = |it: char| it.is_ascii_alphanumeric() || "-_".contains(it);
    assert!(random.chars().all(is_url_safe), "{key}");
    let both = json!({"url": format!("{IMAGES_URL}/{key}"), "key": key});
    assert_eq!(answer.json(), both);
    assert_eq!(answer.header("cache-control").as_deref(), Some("no-store"));
    let image = stage.get(&format!("/api/images/{key}"));
    assert_eq!((image.status, &image.body[..]), (200, &png()[..]));
    assert_eq!(image.header("content-type").as_deref(), Some("image/png"));
}

fn its_type_is_told_by_its_content(stage: &Stage) {
    let user = stage.user("types");
    for kind in kinds() {
        // Whatever the client says that it is.
        for (name, declared) in [
            (format!("a.{}", kind.extension), kind.content_type),
            ("page.html".to_owned(), "text/html"),
            ("noname".to_owned(), "application/octet-stream"),
        ] {
            let form = Form::default().file("file", &name, declared, &kind.file);
            let key = key_of(&upload(stage, &user, form));
            let ending = format!(".{}", kind.extension);
            assert!(key.ends_with(&ending), "{key}");
            let image = stage.get(&format!("/api/images/{key}"));
            assert_eq!(
                image.header("content-type").as_deref(),
                Some(kind.content_type)
            );
            assert_eq!(&image.body[..], &kind.file[..]);
        }
    }
}

fn every_upload_has_a_key_of_its_own(stage: &Stage) {
    let user = stage.user("twice");
    let mut keys: Vec<String> = (0..3)
        .map(|_| key_of(&upload(stage, &user, Form::with_file(&png()))))
        .collect();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 3);
}

fn who_has_no_token_uploads_nothing(stage: &Stage) {
    let user = stage.user("nobody");
    let before = stored(stage).map(|files| files.len());
    let asking = |token: Option<&str>| {
        let ask = Ask::new("POST", UPLOAD).with("content-type", &content_type());
        stage.send_with(&ask.bearer(token), Form::with_file(&png()).end())
    };
    refused(&asking(None), 401, "TOKEN_MISSING");
    let good = user.token.as_deref().expect("a token");
    let (signed, _) = good.rsplit_once('.').expect("three parts");
    let claims_of = |change: fn(&mut Value)| {
        let mut claims = claims(&user.id, &[(&user.workspace, "member")]);
        change(&mut claims);
        sign(&claims, JWT_SECRET)
    };
    for bad in [
        "junk".to_owned(),
        String::new(),
        format!("{signed}."),
        signed.to_owned(),
        sign(
            &claims(&user.id, &[]),
            "another-secret-of-more-than-32-bytes",
        ),
    ] {
        let answer = asking(Some(&bad));
        assert_eq!(answer.status, 401, "{bad}");
        refused(&answer, 401, "TOKEN_INVALID");
    }
    // Beyond its grace: a day where nothing is configured.
    let expired = claims_of(|claims| claims["exp"] = json!(now() - 90_000));
    refused(&asking(Some(&expired)), 401, "GRACE_PERIOD_EXPIRED");
    let in_grace = claims_of(|claims| claims["exp"] = json!(now() - 60));
    key_of(&asking(Some(&in_grace)));
    // The claims versions are those of sync.
    let stale = claims(REVOKED_USER, &[(&user.workspace, "member")]);
    let answer = asking(Some(&sign(&stale, JWT_SECRET)));
    refused(&answer, 401, "TOKEN_VERSION_STALE");
    // As the password of another scheme it is none.
    let basic = Ask::new("POST", UPLOAD)
        .with("content-type", &content_type())
        .with("authorization", &format!("Basic {good}"));
    let answer = stage.send_with(&basic, Form::with_file(&png()).end());
    refused(&answer, 401, "TOKEN_INVALID");
    // Other services of the operator's may.
    key_of(&asking(Some(BYPASS_TOKEN)));
    if let (Some(before), Some(after)) = (before, stored(stage)) {
        // Others upload meanwhile; but nobody has removed anything.
        assert!(after.len() >= before);
    }
}

fn an_upload_is_for_a_workspace_of_the_tokens(stage: &Stage) {
    let user = stage.user("member");
    let form = || Form::with_file(&png());
    let own = form().text("instanceId", &user.workspace);
    key_of(&upload(stage, &user, own));
    for other in ["somebody-elses", "", "../x", "null"] {
        let answer = upload(stage, &user, form().text("instanceId", other));
        refused(&answer, 403, "FORBIDDEN");
    }
    // Wherever it stands.
    let before = Form::default().text("instanceId", "somebody-elses").file(
        "file",
        "a.png",
        "image/png",
        &png(),
    );
    refused(&upload(stage, &user, before), 403, "FORBIDDEN");
}

fn i6_websites_elsewhere_upload_nothing(stage: &Stage) {
    let user = stage.user("origin");
    let from = |origin: &str| {
        let ask = uploading(&user).with("origin", origin);
        stage.send_with(&ask, Form::with_file(&png()).end())
    };
    let allowed = from(ORIGIN);
    key_of(&allowed);
    assert_eq!(
        allowed.header("access-control-allow-origin").as_deref(),
        Some(ORIGIN)
    );
    let foreign = from("https://evil.example.com");
    assert_eq!(foreign.status, 403, "{foreign:?}");
    // A page that may ask, and is refused, can show the id that the log has.
    let without_form = user
        .ask("POST", UPLOAD)
        .with("content-type", "text/plain")
        .with("origin", ORIGIN);
    let answer = stage.send(&without_form);
    assert_eq!(answer.status, 415, "{answer:?}");
    assert!(answer.header("x-request-id").is_some(), "{answer:?}");
    let exposed = answer
        .header("access-control-expose-headers")
        .unwrap_or_default();
    assert!(exposed.contains("x-request-id"), "{exposed}");
    // A browser asks before it sends a token.
    let preflight = Ask::new("OPTIONS", UPLOAD)
        .with("origin", ORIGIN)
        .with("access-control-request-method", "POST")
        .with("access-control-request-headers", "authorization");
    let answer = stage.send(&preflight);
    assert_eq!(answer.status, 204, "{answer:?}");
    let headers = answer
        .header("access-control-allow-headers")
        .unwrap_or_default();
    assert!(
        headers.to_lowercase().contains("authorization"),
        "{headers}"
    );
    let methods = answer
        .header("access-control-allow-methods")
        .unwrap_or_default();
    for method in ["POST", "DELETE"] {
        assert!(methods.contains(method), "{methods}");
    }
}

fn without_a_public_url_the_server_gives_images_out_itself(stage: &Stage) {
    assert_eq!(stage.profile, Profile::Open);
    let user = stage.user("anonymous");
    let answer = upload(stage, &user, Form::with_file(&png()));
    let key = key_of(&answer);
    let url = answer.json()["url"].as_str().expect("a URL").to_owned();
    assert_eq!(url, format!("{}/api/images/{key}", stage.server.url));
    let path = url.strip_prefix(&stage.server.url).expect("its own");
    assert_eq!(&stage.get(path).body[..], &png()[..]);
}

fn i6_websites_elsewhere_upload_nothing_without_tokens(stage: &Stage) {
    let user = stage.user("cross-site");
    // A form needs no leave of the server's to be sent.
    for origin in [
        "https://evil.example.com",
        "http://localhost.evil.example",
        "null",
    ] {
        let ask = uploading(&user).with("origin", origin);
        let answer = stage.send_with(&ask, Form::with_file(&picture::png()).end());
        assert_eq!(answer.status, 403, "{origin}: {answer:?}");
        assert_eq!(
            answer.header("access-control-allow-origin"),
            None,
            "{origin}"
        );
    }
    // A page of the server's own may, and one that is allowed.
    for origin in [stage.server.url.as_str(), ORIGIN] {
        let ask = uploading(&user).with("origin", origin);
        key_of(&stage.send_with(&ask, Form::with_file(&picture::png()).end()));
    }
}
