//! Who may delete an image.

use syncline_tests::exchange::{Answer, Ask};
use syncline_tests::profile::BYPASS_TOKEN;

use super::{key_of, refused, stored, upload, uploaded};
use crate::callers::User;
use crate::picture::{Form, png};
use crate::stage::{ORIGIN, Stage};
use crate::{Scenario, scenarios};

pub fn scenarios() -> Vec<Scenario> {
    scenarios![
        Tokens:
            who_has_uploaded_an_image_deletes_it,
            an_owner_or_admin_of_its_workspace_deletes_an_image,
            nobody_else_deletes_an_image;
        Open:
            i6_websites_elsewhere_delete_nothing,
    ]
}

fn delete(stage: &Stage, user: &User, path: &str) -> Answer {
    stage.send(&user.ask("DELETE", path))
}

#[track_caller]
fn is_gone(stage: &Stage, answer: &Answer, path: &str) {
    assert_eq!((answer.status, answer.body.len()), (204, 0), "{answer:?}");
    refused(&stage.get(path), 404, "NOT_FOUND");
    // Nothing is left of it, not what was kept beside it.
    let name = path.rsplit('/').next().expect("a name");
    let left = stored(stage).unwrap_or_default();
    let left = left
        .iter()
        .filter(|file| file.to_string_lossy().contains(name));
    assert_eq!(left.count(), 0);
}

fn who_has_uploaded_an_image_deletes_it(stage: &Stage) {
    let user = stage.user("deleter");
    let path = uploaded(stage, &user, &png());
    assert_eq!(stage.get(&path).status, 200);
    is_gone(stage, &delete(stage, &user, &path), &path);
    refused(&delete(stage, &user, &path), 404, "NOT_FOUND");
}

fn an_owner_or_admin_of_its_workspace_deletes_an_image(stage: &Stage) {
    let user = stage.user("author");
    for role in ["owner", "admin"] {
        let form = Form::with_file(&png()).text("instanceId", &user.workspace);
        let path = format!("/api/images/{}", key_of(&upload(stage, &user, form)));
        let above = stage.user(role).in_workspace(&user.workspace, role);
        is_gone(stage, &delete(stage, &above, &path), &path);
    }
    let path = uploaded(stage, &user, &png());
    let server = Ask::new("DELETE", &path).bearer(Some(BYPASS_TOKEN));
    is_gone(stage, &stage.send(&server), &path);
}

fn nobody_else_deletes_an_image(stage: &Stage) {
    let user = stage.user("victim");
    let form = Form::with_file(&png()).text("instanceId", &user.workspace);
    let path = format!("/api/images/{}", key_of(&upload(stage, &user, form)));
    refused(
        &stage.send(&Ask::new("DELETE", &path)),
        401,
        "TOKEN_MISSING",
    );
    let junk = Ask::new("DELETE", &path).bearer(Some("junk"));
    refused(&stage.send(&junk), 401, "TOKEN_INVALID");
    for (workspace, role) in [
        ("another-workspace", "owner"),
        (user.workspace.as_str(), "member"),
        (user.workspace.as_str(), "viewer"),
    ] {
        let other = stage.user("other").in_workspace(workspace, role);
        refused(&delete(stage, &other, &path), 403, "FORBIDDEN");
    }
    // One that was uploaded for no workspace is its uploader's alone.
    let own = uploaded(stage, &user, &png());
    let owner = stage.user("owner").in_workspace(&user.workspace, "owner");
    refused(&delete(stage, &owner, &own), 403, "FORBIDDEN");
    assert_eq!(stage.get(&path).status, 200);
    assert_eq!(stage.get(&own).status, 200);
}

fn i6_websites_elsewhere_delete_nothing(stage: &Stage) {
    let user = stage.user("cross-site");
    let path = uploaded(stage, &user, &png());
    let from = |origin: &str| stage.send(&user.ask("DELETE", &path).with("origin", origin));
    assert_eq!(from("https://evil.example.com").status, 403);
    assert_eq!(stage.get(&path).status, 200);
    assert_eq!(from(ORIGIN).status, 204);
}
