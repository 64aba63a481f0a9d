//! Uploads: who may, what is taken, and under which key it is stored.

use jwt_simple::reexports::ct_codecs::{Base64UrlSafeNoPadding, Encoder};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::kind::Kind;
use super::{PREFIX, failure, metadata, methods, uncached};
use crate::admission::refusal::Refused;
use crate::admission::{Request, Verdict};
use crate::clock::Time;
use crate::code::Code;
use crate::config::Config;
use crate::contract::exports::syncline::backend::images::{
    Accepted, File, Parts, Storing, UploadError,
};
use crate::contract::syncline::backend::services::{Response, Service, Upload};
use crate::imports::{Imports, Level};
use crate::services::answer::Form;
use crate::services::caller::Caller;
use crate::services::settings::Images;
use crate::services::{context_unknown, media_type, wrong_method};

/// The field that holds the file.
const FILE_FIELD: &str = "file";

/// The field that says which workspace it is for.
const WORKSPACE_FIELD: &str = "instanceId";

/// Parts of an upload: the file, the workspace, and some that a form may have
/// beside them.
const PARTS_MAX: u32 = 16;

/// Random bytes of a key, which nobody guesses: 32 characters.
const KEY_BYTES: usize = 24;

/// The longest `Host` that is taken: names have at most 253 characters.
const HOST_BYTES_MAX: usize = 300;

/// What `accept` has to know of the request.
#[derive(Serialize, Deserialize)]
struct Context {
    caller: Caller,
    /// Where images are read.
    base: String,
    headers: Vec<(String, String)>,
}

/// What becomes of a request.
pub fn route(
    imports: &mut impl Imports,
    config: &Config,
    settings: &Images,
    request: &Request,
    headers: &[(String, String)],
) -> Result<Verdict, Refused> {
    if request.method != "POST" {
        return Err(wrong_method(methods(&request.path)));
    }
    if media_type(request.header("content-type")) != "multipart/form-data" {
        // The code of whatever is no upload, with the status of its type.
        return Err(Refused::new(
            Code::InvalidFile,
            "An upload is `multipart/form-data` with the image in its field `file`.",
        )
        .with_status(415));
    }
    let caller = Caller::of(imports, config, request)?;
    let base = match &settings.public_url {
        Some(url) => url.clone(),
        None => own_url(request)?,
    };
    let context = Context {
        caller,
        base,
        headers: headers.to_vec(),
    };
    Ok(Verdict::Serve(Service::Upload(Upload {
        context: serde_json::to_string(&context).unwrap_or_default(),
        field: FILE_FIELD.to_owned(),
        file_bytes_max: settings.bytes_max,
        text_fields: vec![WORKSPACE_FIELD.to_owned()],
        parts_max: PARTS_MAX,
        headers: uncached(headers),
    })))
}

/// Where the server itself gives images out, by the request's `Host`. The
/// scheme is that of a development server: nothing says it.
fn own_url(request: &Request) -> Result<String, Refused> {
    let is_host = |host: &&str| {
        (1..=HOST_BYTES_MAX).contains(&host.len())
            && host
                .bytes()
                .all(|it| it.is_ascii_alphanumeric() || b"-._:[]".contains(&it))
    };
    request
        .header("host")
        .filter(is_host)
        .map(|host| format!("http://{host}/api/images"))
        .ok_or_else(|| {
            Refused::new(
                Code::InvalidRequest,
                "The request has no usable `Host`, and R2_PUBLIC_URL is not set.",
            )
        })
}

/// `images.accept`.
pub fn accept(
    imports: &mut impl Imports,
    config: &Config,
    context: &str,
    body: Result<Parts, UploadError>,
) -> Accepted {
    let Ok(context) = serde_json::from_str::<Context>(context) else {
        return Accepted::Respond(context_unknown(Form::Api));
    };
    let Some(settings) = &config.services.images else {
        return Accepted::Respond(context_unknown(Form::Api));
    };
    match storing(imports, settings, &context, body) {
        Ok(storing) => Accepted::Store(storing),
        Err((code, message)) => Accepted::Respond(failure(code, &message, &context.headers)),
    }
}

fn storing(
    imports: &mut impl Imports,
    settings: &Images,
    context: &Context,
    body: Result<Parts, UploadError>,
) -> Result<Storing, (Code, String)> {
    let parts = body.map_err(|error| unread(error, settings))?;
    let Some(file) = parts.file else {
        return Err((
            Code::NoFile,
            "The upload has no file in its field `file`.".to_owned(),
        ));
    };
    let mut texts = parts.texts.iter();
    let workspace = texts
        .find(|(name, _)| name == WORKSPACE_FIELD)
        .map(|(_, id)| id.as_str());
    if let Some(workspace) = workspace
        && matches!(context.caller, Caller::User { .. })
        && context.caller.role_in(workspace).is_none()
    {
        return Err((
            Code::Forbidden,
            "The token does not cover the workspace in `instanceId`.".to_owned(),
        ));
    }
    let kind = checked(&file, settings)?;
    let Some(now) = Time::read(imports) else {
        imports.log(
            Level::Error,
            "the clock is not between 1970 and 9999: set it; nothing can be uploaded",
        );
        return Err((
            Code::UploadFailed,
            "The server's clock is wrong. Try again.".to_owned(),
        ));
    };
    let mut random = [0; KEY_BYTES];
    imports.random(&mut random);
    let random = Base64UrlSafeNoPadding::encode_to_string(random).unwrap_or_default();
    let key = format!("{PREFIX}{random}.{}", kind.extension());
    Ok(Storing {
        content_type: kind.content_type().to_owned(),
        metadata: told(&context.caller, workspace, now, &file),
        stored: stored(context, &key),
        failed: failure(
            Code::UploadFailed,
            "The image could not be stored. Try again.",
            &context.headers,
        ),
        key,
    })
}

/// Why there are no parts.
fn unread(error: UploadError, settings: &Images) -> (Code, String) {
    let (code, message) = match error {
        UploadError::Malformed => (
            Code::InvalidFile,
            "The upload cannot be read as `multipart/form-data`, or has too many parts.",
        ),
        UploadError::TooSlow => (
            Code::BodyTimeout,
            "The upload did not arrive in time. Try again.",
        ),
        UploadError::Busy => (
            Code::Overloaded,
            "Too many uploads are under way. Try again.",
        ),
        UploadError::TooLarge => return too_large(settings),
    };
    (code, message.to_owned())
}

fn too_large(settings: &Images) -> (Code, String) {
    let message = format!(
        "The image is too large: at most {} bytes are taken.",
        settings.bytes_max
    );
    (Code::FileTooLarge, message)
}

/// What a file is, if it is taken.
fn checked(file: &File, settings: &Images) -> Result<Kind, (Code, String)> {
    if file.bytes > u64::from(settings.bytes_max) {
        return Err(too_large(settings));
    }
    if file.bytes == 0 {
        return Err((Code::InvalidFile, "The file is empty.".to_owned()));
    }
    Kind::of(&file.beginning, file.bytes).ok_or_else(|| {
        (
            Code::InvalidFile,
            "The file is no JPEG, PNG, WebP, GIF or AVIF, by its content.".to_owned(),
        )
    })
}

/// What is kept with it.
fn told(caller: &Caller, workspace: Option<&str>, now: Time, file: &File) -> Vec<(String, String)> {
    let mut told = vec![
        (metadata::UPLOADER, metadata::uploader(caller)),
        (metadata::UPLOADED_AT, now.iso_8601()),
        (metadata::SHA256, file.sha256.clone()),
    ];
    if let Some(workspace) = workspace {
        told.push((metadata::WORKSPACE, metadata::id_of(workspace)));
    }
    if let Some(name) = file.name.as_deref().map(metadata::name_of)
        && !name.is_empty()
    {
        told.push((metadata::NAME, name));
    }
    told.into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

fn stored(context: &Context, key: &str) -> Response {
    let mut headers = uncached(&context.headers);
    headers.push(("content-type".to_owned(), "application/json".to_owned()));
    Response {
        status: 200,
        headers,
        body: json!({ "url": format!("{}/{key}", context.base), "key": key }).to_string(),
    }
}
