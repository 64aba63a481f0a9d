//! Images in a bucket of S3, which wasmtime alone knows: Workers have R2.

use std::fs;

use syncline_tests::bucket::{BUCKET, Bucket, SECRET_KEY};
use syncline_tests::exchange::Ask;
use syncline_tests::profile::JWT_SECRET;
use syncline_tests::server::Syncline;

use super::{UPLOAD, key_of, refused};
use crate::callers::User;
use crate::picture::{Form, content_type, png_of};
use crate::stage::Stage;
use crate::{Scenario, scenarios};

pub fn of_wasmtime() -> Vec<Scenario> {
    scenarios![Tokens: i1_images_in_a_bucket_are_whole_or_not_there]
}

fn i1_images_in_a_bucket_are_whole_or_not_there(_: &Stage) {
    let bucket = Bucket::start().expect("a bucket");
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("log");
    let mut variables = bucket.variables();
    variables.extend([
        ("ENVIRONMENT", "production".to_owned()),
        ("JWT_SECRET", JWT_SECRET.to_owned()),
        ("R2_PUBLIC_URL", "https://images.example.com".to_owned()),
    ]);
    let syncline = Syncline {
        storage: "memory".to_owned(),
        arguments: vec!["--images".to_owned(), format!("s3://{BUCKET}/under/here")],
        variables,
        log: Some(log.clone()),
    };
    let server = syncline.start_in(dir.path()).expect("a server");
    let seen = |answer: syncline_tests::exchange::Answer| {
        let all = format!("{:?} {}", answer.headers, answer.text());
        assert!(!all.contains(SECRET_KEY), "{all}");
        answer
    };
    let user = User::new("bucket", true);
    let send = |ask: Ask| seen(ask.send(&server.url));
    let upload = |file: &[u8]| {
        let ask = user
            .ask("POST", UPLOAD)
            .with("content-type", &content_type());
        seen(ask.send_with(&server.url, Form::with_file(file).end()))
    };

    let file = png_of(200_000);
    let key = key_of(&upload(&file));
    let object = format!("under/here/{key}");
    assert_eq!(
        bucket.keys(),
        std::slice::from_ref(&object),
        "one object, and nothing beside it"
    );
    let known = bucket.headers(&object);
    let has = |name: &str| known.iter().any(|(it, _)| it == name);
    assert!(known.contains(&("content-type".to_owned(), "image/png".to_owned())));
    assert!(
        has("x-amz-meta-sha256") && has("x-amz-meta-uploader"),
        "{known:?}"
    );

    let path = format!("/api/images/{key}");
    let whole = send(Ask::get(&path));
    assert_eq!(whole.status, 200);
    assert!(whole.body[..] == file[..]);
    assert_eq!(whole.header("content-type").as_deref(), Some("image/png"));
    let etag = whole.header("etag").expect("an ETag");
    assert_eq!(
        etag.len(),
        64 + 2,
        "{etag} is of the content, not the bucket's"
    );
    let head = send(Ask::new("HEAD", &path));
    assert_eq!(
        (head.status, head.header("etag")),
        (200, Some(etag.clone()))
    );
    assert_eq!(head.header("content-length").as_deref(), Some("200000"));
    let known = send(Ask::get(&path).with("if-none-match", &etag));
    assert_eq!(known.status, 304);
    // Only the part is asked for.
    let part = send(Ask::get(&path).with("range", "bytes=1000-1999"));
    assert_eq!((part.status, &part.body[..]), (206, &file[1000..2000]));
    assert_eq!(
        part.header("content-range").as_deref(),
        Some("bytes 1000-1999/200000")
    );
    let ranged = format!("GET {object} bytes=1000-1999");
    assert!(bucket.asked().contains(&ranged), "{:?}", bucket.asked());
    refused(
        &send(Ask::get(&path).with("range", "bytes=200000-")),
        416,
        "INVALID_REQUEST",
    );

    // The bucket fails: nothing is there that was not, nothing is gone.
    bucket.fail(true);
    let failed = upload(&png_of(1_000));
    refused(&failed, 503, "UPLOAD_FAILED");
    assert!(failed.header("retry-after").is_some());
    for method in ["GET", "HEAD", "DELETE"] {
        let answer = send(user.ask(method, &path));
        assert!(answer.status >= 500, "{method}: {answer:?}");
    }
    bucket.fail(false);
    assert_eq!(bucket.keys(), [object]);

    let stranger = User::new("stranger", true);
    refused(&send(stranger.ask("DELETE", &path)), 403, "FORBIDDEN");
    assert_eq!(bucket.keys().len(), 1);
    let removed = send(user.ask("DELETE", &path));
    assert_eq!(removed.status, 204, "{removed:?}");
    assert!(bucket.keys().is_empty());
    refused(&send(Ask::get(&path)), 404, "NOT_FOUND");
    assert_eq!(bucket.unsigned(), 0, "everything is signed");
    let said = fs::read_to_string(log).expect("a log");
    assert!(!said.contains(SECRET_KEY), "{said}");

    // With another key it stores nothing, and says so.
    let mut other = syncline.clone();
    for (name, value) in &mut other.variables {
        if *name == "AWS_SECRET_ACCESS_KEY" {
            *value = "another-key".to_owned();
        }
    }
    other.log = None;
    drop(server);
    let server = other.start_in(dir.path()).expect("a server");
    let ask = user
        .ask("POST", UPLOAD)
        .with("content-type", &content_type());
    let answer = seen(ask.send_with(&server.url, Form::with_file(&file).end()));
    refused(&answer, 503, "UPLOAD_FAILED");
    assert!(bucket.keys().is_empty() && bucket.unsigned() > 0);
}
