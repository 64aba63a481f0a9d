//! Images, from the request to the answer.

mod kinds;
mod reading;
mod storing;

use serde_json::Value;

use super::conditions::{Wanted, names, wanted};
use super::kind::Kind;
use super::*;
use crate::admission::{Decision, admit};
use crate::contract::exports::syncline::backend::images::{
    Accepted, Delivered, Delivery, File, Info, NoObject, Part, Parts, Removed, UploadError,
};
use crate::services::fake_host::{BYPASS, FakeHost, header, request, token};

const HASH: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
const KEY: &str = "covers/AbCdEfGhIjKlMnOpQrStUvWxYz012-_9.png";
const ON: [(&str, &str); 1] = [("HOST_IMAGES", "1")];
const MULTIPART: (&str, &str) = ("content-type", "multipart/form-data; boundary=x");
const HOST: (&str, &str) = ("host", "localhost:8787");

fn png() -> Vec<u8> {
    let mut png = b"\x89PNG\r\n\x1A\n\0\0\0\x0DIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0".to_vec();
    png.extend([0x1F, 0x15, 0xC4, 0x89]);
    png
}

fn file(beginning: &[u8], bytes: u64) -> File {
    File {
        bytes,
        beginning: beginning.to_vec(),
        sha256: HASH.to_owned(),
        name: Some("Mein Bild – 1.png".to_owned()),
    }
}

fn parts(file: File, texts: &[(&str, &str)]) -> Result<Parts, UploadError> {
    Ok(Parts {
        file: Some(file),
        texts: texts
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
            .collect(),
    })
}

/// What admission makes of a request.
fn admitted(host: &mut FakeHost, request: &Request) -> Verdict {
    let config = Ok(host.config());
    let Decision { verdict, cause } = admit(host, &config, request);
    if let Verdict::Respond(response) = &verdict
        && response.status >= 400
    {
        // Or it is in no log.
        let cause = cause.unwrap();
        assert_eq!(cause.refused.code.as_str(), code(&response.body));
    }
    verdict
}

fn upload_context(host: &mut FakeHost, headers: &[(&str, &str)]) -> String {
    match admitted(host, &request("POST", UPLOAD_PATH, headers)) {
        Verdict::Serve(Service::Upload(upload)) => upload.context,
        other => panic!("{other:?}"),
    }
}

/// A refusal's status and code.
fn refused(verdict: Verdict) -> (u16, String) {
    match verdict {
        Verdict::Respond(response) => {
            assert_eq!(header(&response.headers, "cache-control"), Some("no-store"));
            (response.status, code(&response.body))
        }
        other => panic!("{other:?}"),
    }
}

fn code(body: &str) -> String {
    let body: Value = serde_json::from_str(body).unwrap();
    assert!(body["error"].is_string(), "{body}");
    body["code"].as_str().unwrap().to_owned()
}

fn of(status: u16, code: Code) -> (u16, String) {
    (status, code.as_str().to_owned())
}

fn accepted(host: &mut FakeHost, context: &str, body: Result<Parts, UploadError>) -> Accepted {
    let config = host.config();
    accept(host, &config, context, body)
}

/// How an upload is refused.
fn refusal(host: &mut FakeHost, context: &str, body: Result<Parts, UploadError>) -> (u16, String) {
    match accepted(host, context, body) {
        Accepted::Respond(response) => (response.status, code(&response.body)),
        other => panic!("{other:?}"),
    }
}
