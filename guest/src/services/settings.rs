//! The services' configuration.

use serde_json::Value;
use thiserror::Error;

use crate::config::variables::{Variable, of_host, variable};
use crate::imports::System;

/// `IMAGE_BYTES_MAX` when it is unset: 5 MB, the reference worker's limit.
const IMAGE_BYTES_MAX_DEFAULT: u32 = 5 * 1024 * 1024;

/// The largest `IMAGE_BYTES_MAX`: files are held whole on Workers, where an
/// isolate has 128 MB.
const IMAGE_BYTES_MAX_MAX: u32 = 10 * 1024 * 1024;

/// Braintrust's proxy, where `BRAINTRUST_BASE_URL` is unset.
const BRAINTRUST_BASE_URL_DEFAULT: &str = "https://api.braintrust.dev/v1/proxy";

/// `LLM_REQUESTS_PER_MINUTE` when it is unset: a person who types fast.
const REQUESTS_PER_MINUTE_DEFAULT: u64 = 30;

/// `LLM_TOKENS_PER_DAY` when it is unset: a day's work, and not a bill.
const TOKENS_PER_DAY_DEFAULT: u64 = 1_000_000;

/// `LLM_STREAMS_MAX` when it is unset: a tab or two.
const STREAMS_MAX_DEFAULT: u64 = 4;

/// `LLM_CONNECT_TIMEOUT_MS` when it is unset.
const CONNECT_TIMEOUT_MS_DEFAULT: u32 = 10_000;

/// `LLM_HEAD_TIMEOUT_MS` when it is unset: without a stream the head comes when
/// all of the answer is made.
const HEAD_TIMEOUT_MS_DEFAULT: u32 = 120_000;

/// `LLM_IDLE_TIMEOUT_MS` when it is unset: models think before they speak.
const IDLE_TIMEOUT_MS_DEFAULT: u32 = 60_000;

/// The longest time-out: half of what a call may take in all.
const TIMEOUT_MS_MAX: u64 = 300_000;

/// Set by a host that has an object store.
pub const HOST_IMAGES: &str = "HOST_IMAGES";

/// Set by a host that has the app's files.
pub const HOST_ASSETS: &str = "HOST_ASSETS";

/// The variables that [`Settings::read`] asks for.
pub const VARIABLES: [Variable; 18] = [
    variable("IMAGE_BYTES_MAX", "the largest image, in bytes; 5242880"),
    variable(
        "R2_PUBLIC_URL",
        "what stands before an image's key in its URL; needed in production",
    ),
    variable(
        "LLM_BASE_URL",
        "an OpenAI-compatible server, up to what stands before `/chat/completions`",
    ),
    variable("LLM_API_KEY", "its key"),
    variable(
        "BRAINTRUST_API_KEY",
        "Braintrust's key: its proxy is the upstream where there is no LLM_BASE_URL",
    ),
    variable("BRAINTRUST_PROJECT_ID", "the project that its logs are for"),
    variable(
        "BRAINTRUST_BASE_URL",
        "where it is; https://api.braintrust.dev/v1/proxy",
    ),
    variable(
        "LLM_MODELS",
        "models that may be asked for, comma-separated, the default first; any",
    ),
    variable(
        "LLM_TOOLS",
        "tools that every request has, a JSON list as OpenAI has it",
    ),
    variable("LLM_SYSTEM_PROMPT", "what every conversation begins with"),
    variable(
        "LLM_REQUESTS_PER_MINUTE",
        "requests a minute of one user, 0 for any number; 30",
    ),
    variable(
        "LLM_TOKENS_PER_DAY",
        "tokens a day of one user, 0 for any number; 1000000",
    ),
    variable("LLM_STREAMS_MAX", "calls of one user at once; 4"),
    variable(
        "LLM_CONNECT_TIMEOUT_MS",
        "how long connecting to the upstream may take; 10000",
    ),
    variable(
        "LLM_HEAD_TIMEOUT_MS",
        "how long the upstream's answer may take to begin; 120000",
    ),
    variable(
        "LLM_IDLE_TIMEOUT_MS",
        "how long a stream of the upstream's may pause; 60000",
    ),
    of_host(HOST_IMAGES),
    of_host(HOST_ASSETS),
];

/// A variable of a service that cannot be worked with.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SettingsError {
    /// It is no usable number.
    #[error("{name} is `{value}`: set it to a whole number from {min} to {max}")]
    Number {
        /// The variable.
        name: &'static str,
        /// What it holds.
        value: String,
        /// The least.
        min: u64,
        /// The most.
        max: u64,
    },
    /// It is no usable URL.
    #[error("{name} is no URL of a server: set it to `https://…`, without `?` or `#`")]
    Url {
        /// The variable.
        name: &'static str,
    },
    /// It cannot stand in a header of a request.
    #[error("{name} has characters that no header may have: set it without spaces or line ends")]
    HeaderValue {
        /// The variable.
        name: &'static str,
    },
    /// `LLM_TOOLS` is no list of tools.
    #[error(
        "LLM_TOOLS is not a JSON list of tools as OpenAI has them, each with `type` and `function.name`"
    )]
    Tools,
    /// Images are on, and nobody knows their address.
    #[error(
        "R2_PUBLIC_URL is not set, but images are on: set it to where they can be read (this server's own is `https://<host>/api/images`)"
    )]
    ImagesUrlMissing,
}

/// The images' settings.
#[derive(Debug, Clone)]
pub struct Images {
    /// `IMAGE_BYTES_MAX`.
    pub bytes_max: u32,
    /// `R2_PUBLIC_URL`, without a `/` at its end. In development the server's
    /// own if unset: `None`, the request says which that is.
    pub public_url: Option<String>,
}

/// The LLM proxy's settings.
#[derive(Clone)]
pub struct Llm {
    /// The upstream's URL for chat completions.
    pub url: String,
    /// Its key, if it wants one.
    pub key: Option<String>,
    /// `BRAINTRUST_PROJECT_ID`, where the upstream is Braintrust.
    pub braintrust_project_id: Option<String>,
    /// `LLM_MODELS`: those that may be asked for, the default first; empty
    /// means any, and none by default.
    pub models: Vec<String>,
    /// `LLM_TOOLS`: definitions that every request has.
    pub tools: Vec<Value>,
    /// `LLM_SYSTEM_PROMPT`.
    pub system_prompt: Option<String>,
    /// `LLM_REQUESTS_PER_MINUTE`, of a user; 0 is any number.
    pub requests_per_minute: u64,
    /// `LLM_TOKENS_PER_DAY`, of a user; 0 is any number.
    pub tokens_per_day: u64,
    /// `LLM_STREAMS_MAX`: calls of a user under way at once.
    pub streams_max: u64,
    /// `LLM_CONNECT_TIMEOUT_MS`: for a connection to the upstream.
    pub connect_timeout_ms: u32,
    /// `LLM_HEAD_TIMEOUT_MS`: from a request to the head of its answer.
    pub head_timeout_ms: u32,
    /// `LLM_IDLE_TIMEOUT_MS`: between two pieces of an answer.
    pub idle_timeout_ms: u32,
}

/// What of the services is on.
#[derive(Clone, Default)]
pub struct Settings {
    /// Images.
    pub images: Option<Images>,
    /// The LLM proxy.
    pub llm: Option<Llm>,
    /// The app.
    pub assets: bool,
}

impl Settings {
    /// Reads and checks the environment.
    ///
    /// # Errors
    /// The first variable that cannot be worked with.
    pub fn read(system: &mut impl System, is_development: bool) -> Result<Self, SettingsError> {
        let images = match system.env(HOST_IMAGES) {
            None => None,
            Some(_) => Some(Images::read(system, is_development)?),
        };
        Ok(Self {
            images,
            llm: Llm::read(system)?,
            assets: system.env(HOST_ASSETS).is_some(),
        })
    }

    /// A line for each service that is on.
    #[must_use]
    pub fn announcement(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(images) = &self.images {
            lines.push(match &images.public_url {
                Some(url) => format!("images: up to {} bytes, read at {url}", images.bytes_max),
                None => format!("images: up to {} bytes, read here", images.bytes_max),
            });
        }
        if let Some(llm) = &self.llm {
            let models = match llm.models.as_slice() {
                [] => "any model".to_owned(),
                models => models.join(", "),
            };
            lines.push(format!("LLM proxy: {models}, by {}", host_of(&llm.url)));
        }
        if self.assets {
            lines.push("the app: its files, for everybody".to_owned());
        }
        lines
    }
}

impl Images {
    fn read(system: &mut impl System, is_development: bool) -> Result<Self, SettingsError> {
        let bytes_max = number(
            system,
            "IMAGE_BYTES_MAX",
            u64::from(IMAGE_BYTES_MAX_DEFAULT),
            1,
            u64::from(IMAGE_BYTES_MAX_MAX),
        )?;
        let public_url = url(system, "R2_PUBLIC_URL")?;
        if public_url.is_none() && !is_development {
            return Err(SettingsError::ImagesUrlMissing);
        }
        Ok(Self {
            bytes_max: u32::try_from(bytes_max).unwrap_or(IMAGE_BYTES_MAX_DEFAULT),
            public_url,
        })
    }
}

impl Llm {
    /// Any OpenAI-compatible server where one is named, else Braintrust where
    /// there is a key for it.
    fn read(system: &mut impl System) -> Result<Option<Self>, SettingsError> {
        let own = url(system, "LLM_BASE_URL")?;
        let braintrust = header_value(system, "BRAINTRUST_API_KEY")?;
        let (base, key, braintrust_project_id) = match (own, braintrust) {
            (Some(base), _) => (base, header_value(system, "LLM_API_KEY")?, None),
            (None, Some(key)) => {
                let base = url(system, "BRAINTRUST_BASE_URL")?
                    .unwrap_or_else(|| BRAINTRUST_BASE_URL_DEFAULT.to_owned());
                let project = header_value(system, "BRAINTRUST_PROJECT_ID")?;
                (base, Some(key), project)
            }
            (None, None) => return Ok(None),
        };
        let models = system.env("LLM_MODELS").unwrap_or_default();
        let models = models.split(',').map(str::trim);
        Ok(Some(Self {
            url: format!("{base}/chat/completions"),
            key,
            braintrust_project_id,
            models: models
                .filter(|model| !model.is_empty())
                .map(str::to_owned)
                .collect(),
            tools: tools(system)?,
            system_prompt: system.env("LLM_SYSTEM_PROMPT"),
            requests_per_minute: number(
                system,
                "LLM_REQUESTS_PER_MINUTE",
                REQUESTS_PER_MINUTE_DEFAULT,
                0,
                1_000_000,
            )?,
            tokens_per_day: number(
                system,
                "LLM_TOKENS_PER_DAY",
                TOKENS_PER_DAY_DEFAULT,
                0,
                1_000_000_000_000,
            )?,
            streams_max: number(system, "LLM_STREAMS_MAX", STREAMS_MAX_DEFAULT, 1, 1_000)?,
            connect_timeout_ms: timeout(
                system,
                "LLM_CONNECT_TIMEOUT_MS",
                CONNECT_TIMEOUT_MS_DEFAULT,
            )?,
            head_timeout_ms: timeout(system, "LLM_HEAD_TIMEOUT_MS", HEAD_TIMEOUT_MS_DEFAULT)?,
            idle_timeout_ms: timeout(system, "LLM_IDLE_TIMEOUT_MS", IDLE_TIMEOUT_MS_DEFAULT)?,
        }))
    }
}

fn number(
    system: &mut impl System,
    name: &'static str,
    default: u64,
    min: u64,
    max: u64,
) -> Result<u64, SettingsError> {
    let Some(value) = system.env(name) else {
        return Ok(default);
    };
    match value.trim().parse() {
        Ok(number) if (min..=max).contains(&number) => Ok(number),
        _ => Err(SettingsError::Number {
            name,
            value,
            min,
            max,
        }),
    }
}

/// A time-out, in milliseconds.
fn timeout(
    system: &mut impl System,
    name: &'static str,
    default: u32,
) -> Result<u32, SettingsError> {
    let ms = number(system, name, u64::from(default), 1, TIMEOUT_MS_MAX)?;
    Ok(u32::try_from(ms).unwrap_or(default))
}

/// What is sent in a header. One that cannot be would make every call fail,
/// with words of the HTTP client's in which it might stand.
fn header_value(
    system: &mut impl System,
    name: &'static str,
) -> Result<Option<String>, SettingsError> {
    let Some(value) = system.env(name) else {
        return Ok(None);
    };
    let value = value.trim();
    if value.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok((!value.is_empty()).then(|| value.to_owned()))
    } else {
        Err(SettingsError::HeaderValue { name })
    }
}

/// A URL to which paths are appended, without a `/` at its end.
fn url(system: &mut impl System, name: &'static str) -> Result<Option<String>, SettingsError> {
    let Some(text) = system.env(name) else {
        return Ok(None);
    };
    let url = text.trim().trim_end_matches('/');
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"));
    let is_usable = rest.is_some_and(|rest| {
        !rest.is_empty()
            && !rest.starts_with('/')
            && rest
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && !b"?#\"<>\\^`{|}@".contains(&byte))
    });
    if is_usable {
        Ok(Some(url.to_owned()))
    } else {
        Err(SettingsError::Url { name })
    }
}

fn tools(system: &mut impl System) -> Result<Vec<Value>, SettingsError> {
    let Some(text) = system.env("LLM_TOOLS") else {
        return Ok(Vec::new());
    };
    let tools: Vec<Value> = serde_json::from_str(&text).map_err(|_| SettingsError::Tools)?;
    let is_tool = |tool: &Value| {
        tool.get("type").is_some_and(Value::is_string)
            && tool.pointer("/function/name").is_some_and(Value::is_string)
    };
    if tools.iter().all(is_tool) {
        Ok(tools)
    } else {
        Err(SettingsError::Tools)
    }
}

/// The part of a URL that says whose it is.
fn host_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}
