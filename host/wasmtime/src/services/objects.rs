//! The object store: a directory, or a bucket of S3, R2's among them.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{
    Attribute, Attributes, ClientConfigKey, GetOptions, GetRange, ObjectStore, ObjectStoreExt,
    ObjectStoreScheme, PutOptions, PutPayload, RetryConfig,
};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use url::Url;

use super::watched::Watching;
use crate::contract::images::Info;
use crate::process::tls;

/// How long a bucket's server may take between two pieces of an answer.
const READ_TIMEOUT: &str = "20s";

/// How long a call of a bucket's server may take in all: the largest image
/// over a slow client's connection, read as it is taken.
const CALL_TIMEOUT: &str = "300s";

/// How often, and for how long, a call of a bucket's server is tried again.
const RETRIES_MAX: usize = 3;
const RETRY_TIMEOUT: Duration = Duration::from_secs(15);

/// Where what is known of an object is kept, in a directory: beside the
/// objects and under a prefix that none of them has.
const NOTES: &str = "meta";

/// Where objects are kept: `--images`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ObjectPlace {
    /// A directory, made when it is not there.
    Directory(PathBuf),
    /// A bucket, and a prefix in it.
    Bucket(Url),
}

impl FromStr for ObjectPlace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if !text.contains("://") {
            return match text {
                "" => Err("use a directory, or `s3://BUCKET/PREFIX`".to_owned()),
                text => Ok(Self::Directory(text.into())),
            };
        }
        let url = Url::parse(text).map_err(|error| error.to_string())?;
        // It would be shown, and there are variables for it.
        if !url.username().is_empty() || url.password().is_some() {
            return Err("leave the keys out of the URL: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY have them".to_owned());
        }
        match ObjectStoreScheme::parse(&url) {
            Ok((ObjectStoreScheme::AmazonS3, _)) => Ok(Self::Bucket(url)),
            _ => Err("use a directory, or `s3://BUCKET/PREFIX`".to_owned()),
        }
    }
}

impl fmt::Display for ObjectPlace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(dir) => write!(formatter, "{}", dir.display()),
            Self::Bucket(url) => write!(formatter, "{url}"),
        }
    }
}

/// Why objects cannot be stored or read.
#[derive(Debug, Error)]
pub enum ObjectsError {
    /// The directory cannot be made.
    #[error("{dir} cannot be made: {source}", dir = dir.display())]
    Directory {
        /// The directory.
        dir: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What is known of an object cannot be read.
    #[error("{NOTES}/{key}.json is damaged: {source}")]
    Note {
        /// The object.
        key: String,
        /// Why.
        source: serde_json::Error,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] object_store::Error),
}

impl ObjectsError {
    /// Whether there is no such object.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(
            self,
            // No store has a key that is no path.
            Self::Store(
                object_store::Error::NotFound { .. } | object_store::Error::InvalidPath { .. }
            )
        )
    }
}

impl ObjectsError {
    /// As `error.type` has it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            error if error.is_missing() => "not_found",
            Self::Note { .. } => "damaged",
            Self::Store(
                object_store::Error::PermissionDenied { .. }
                | object_store::Error::Unauthenticated { .. },
            ) => "refused",
            Self::Directory { .. } | Self::Store(_) => "unavailable",
        }
    }
}

/// The object store.
pub struct Objects {
    store: Box<dyn ObjectStore>,
    /// Whether it keeps what is known of an object with it: a directory does
    /// not.
    keeps_attributes: bool,
}

/// What is known of an object, in a directory.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Note {
    content_type: String,
    metadata: BTreeMap<String, String>,
}

impl Objects {
    /// Opens a store. A bucket is not asked whether it is there: that is seen
    /// with the first object.
    ///
    /// # Errors
    /// When the directory cannot be made, or a variable of the bucket's is
    /// missing.
    pub fn open(place: &ObjectPlace) -> Result<Self, ObjectsError> {
        match place {
            ObjectPlace::Directory(dir) => {
                std::fs::create_dir_all(dir).map_err(|source| ObjectsError::Directory {
                    dir: dir.clone(),
                    source,
                })?;
                let store = LocalFileSystem::new_with_prefix(dir)?.with_fsync(true);
                Ok(Self {
                    store: Box::new(store),
                    keeps_attributes: false,
                })
            }
            ObjectPlace::Bucket(url) => {
                tls::prepare();
                let client = AmazonS3ConfigKey::Client;
                let bucket = AmazonS3Builder::from_env()
                    .with_http_connector(Watching::default())
                    .with_url(url.as_str())
                    .with_config(client(ClientConfigKey::Timeout), CALL_TIMEOUT)
                    .with_config(client(ClientConfigKey::ReadTimeout), READ_TIMEOUT)
                    .with_retry(RetryConfig {
                        max_retries: RETRIES_MAX,
                        retry_timeout: RETRY_TIMEOUT,
                        ..RetryConfig::default()
                    })
                    .build()?;
                let (_, prefix) =
                    ObjectStoreScheme::parse(url).map_err(object_store::Error::from)?;
                Ok(Self {
                    store: Box::new(PrefixStore::new(bucket, prefix)),
                    keeps_attributes: true,
                })
            }
        }
    }

    /// Whether another server keeps the objects.
    #[must_use]
    pub fn is_remote(&self) -> bool {
        self.keeps_attributes
    }

    /// Stores an object: all of it, or nothing. What is known of it is there
    /// before it can be seen.
    ///
    /// # Errors
    /// When nothing is stored.
    pub async fn put(
        &self,
        key: &str,
        content_type: &str,
        metadata: Vec<(String, String)>,
        bytes: Bytes,
    ) -> Result<(), ObjectsError> {
        let path = path(key)?;
        let mut options = PutOptions::default();
        if self.keeps_attributes {
            options.attributes = attributes(content_type, metadata);
            self.store.put_opts(&path, bytes.into(), options).await?;
            return Ok(());
        }
        let note = Note {
            content_type: content_type.to_owned(),
            metadata: metadata.into_iter().collect(),
        };
        let note = serde_json::to_vec(&note).map_err(|error| damaged(key, error))?;
        let note_path = note_path(key)?;
        self.store.put(&note_path, PutPayload::from(note)).await?;
        let stored = self.store.put_opts(&path, bytes.into(), options).await;
        if stored.is_err() {
            // It would tell of what is not there. Whatever comes of it, the
            // first error says why.
            let _ = self.store.delete(&note_path).await;
        }
        stored?;
        Ok(())
    }

    /// What is known of an object.
    ///
    /// # Errors
    /// When it is not there, or cannot be seen.
    pub async fn info(&self, key: &str) -> Result<Info, ObjectsError> {
        let options = GetOptions {
            head: true,
            ..GetOptions::default()
        };
        let found = self.store.get_opts(&path(key)?, options).await?;
        if self.keeps_attributes {
            return Ok(Info {
                bytes: found.meta.size,
                ..info(&found.attributes)
            });
        }
        let note = match self.store.get(&note_path(key)?).await {
            Ok(note) => note.bytes().await?,
            // Somebody has copied the objects, and not what is beside them.
            Err(object_store::Error::NotFound { .. }) => {
                return Ok(Info {
                    bytes: found.meta.size,
                    content_type: mime_guess::from_path(key)
                        .first_raw()
                        .unwrap_or_default()
                        .to_owned(),
                    metadata: Vec::new(),
                });
            }
            Err(error) => return Err(error.into()),
        };
        let note: Note = serde_json::from_slice(&note).map_err(|error| damaged(key, error))?;
        Ok(Info {
            bytes: found.meta.size,
            content_type: note.content_type,
            metadata: note.metadata.into_iter().collect(),
        })
    }

    /// A part of an object's bytes, which is not empty.
    ///
    /// # Errors
    /// When it is not there, or cannot be read.
    pub async fn read(
        &self,
        key: &str,
        part: Range<u64>,
    ) -> Result<BoxStream<'static, object_store::Result<Bytes>>, ObjectsError> {
        let options = GetOptions {
            range: Some(GetRange::Bounded(part)),
            ..GetOptions::default()
        };
        let found = self.store.get_opts(&path(key)?, options).await?;
        Ok(found.into_stream().boxed())
    }

    /// Deletes an object. One that is not there is deleted.
    ///
    /// # Errors
    /// When it is still there.
    pub async fn remove(&self, key: &str) -> Result<(), ObjectsError> {
        let delete = async |path: Path| match self.store.delete(&path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        };
        delete(path(key)?).await?;
        if !self.keeps_attributes {
            delete(note_path(key)?).await?;
        }
        Ok(())
    }
}

fn damaged(key: &str, source: serde_json::Error) -> ObjectsError {
    ObjectsError::Note {
        key: key.to_owned(),
        source,
    }
}

/// A key's path. None has empty segments, `.` or `..`.
fn path(key: &str) -> Result<Path, ObjectsError> {
    Ok(Path::parse(key).map_err(object_store::Error::from)?)
}

fn note_path(key: &str) -> Result<Path, ObjectsError> {
    path(&format!("{NOTES}/{key}.json"))
}

fn attributes(content_type: &str, metadata: Vec<(String, String)>) -> Attributes {
    let metadata = metadata
        .into_iter()
        .map(|(name, value)| (Attribute::Metadata(name.into()), value));
    let content_type = (Attribute::ContentType, content_type.to_owned());
    std::iter::once(content_type).chain(metadata).collect()
}

fn info(attributes: &Attributes) -> Info {
    let mut info = Info {
        bytes: 0,
        content_type: String::new(),
        metadata: Vec::new(),
    };
    for (name, value) in attributes {
        match name {
            Attribute::ContentType => value.as_ref().clone_into(&mut info.content_type),
            Attribute::Metadata(name) => {
                let value = value.as_ref().to_owned();
                info.metadata.push((name.clone().into_owned(), value));
            }
            _ => {}
        }
    }
    info
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use futures_util::TryStreamExt;

    use super::*;

    const KEY: &str = "covers/abc.png";

    fn objects(dir: &std::path::Path) -> Objects {
        Objects::open(&ObjectPlace::Directory(dir.join("images"))).unwrap()
    }

    async fn put(objects: &Objects, key: &str) -> Result<(), ObjectsError> {
        let metadata = vec![("user".to_owned(), "me".to_owned())];
        let bytes = Bytes::from_static(b"0123456789");
        objects.put(key, "image/png", metadata, bytes).await
    }

    async fn read(objects: &Objects, key: &str, part: Range<u64>) -> Vec<u8> {
        let pieces = objects.read(key, part).await.unwrap();
        let pieces: Vec<Bytes> = pieces.try_collect().await.unwrap();
        pieces.concat()
    }

    fn files(dir: &std::path::Path) -> Vec<PathBuf> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(dir).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                files.extend(super::tests::files(&path));
            } else {
                files.push(path);
            }
        }
        files
    }

    #[tokio::test]
    async fn what_is_stored_is_given_back_with_what_is_known_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let store = objects(dir.path());
        put(&store, KEY).await.unwrap();
        // And by whoever opens it next.
        let store = objects(dir.path());
        let info = store.info(KEY).await.unwrap();
        assert_eq!(info.bytes, 10);
        assert_eq!(info.content_type, "image/png");
        assert_eq!(info.metadata, [("user".to_owned(), "me".to_owned())]);
        assert_eq!(read(&store, KEY, 0..10).await, b"0123456789");
        assert_eq!(read(&store, KEY, 3..5).await, b"34");
        store.remove(KEY).await.unwrap();
        store.remove(KEY).await.unwrap();
        assert!(store.info(KEY).await.unwrap_err().is_missing());
        assert_eq!(files(dir.path()), Vec::<PathBuf>::new());
    }

    #[tokio::test]
    async fn an_object_without_anything_beside_it_has_its_names_type() {
        let dir = tempfile::tempdir().unwrap();
        let store = objects(dir.path());
        put(&store, KEY).await.unwrap();
        std::fs::remove_dir_all(dir.path().join("images/meta")).unwrap();
        let info = store.info(KEY).await.unwrap();
        assert_eq!((info.bytes, &*info.content_type), (10, "image/png"));
        assert!(info.metadata.is_empty());
        // What is beside it says more, if it can be read.
        put(&store, KEY).await.unwrap();
        let note = dir.path().join("images/meta").join(format!("{KEY}.json"));
        std::fs::write(note, "{").unwrap();
        let error = store.info(KEY).await.unwrap_err();
        assert!(!error.is_missing(), "{error}");
    }

    #[tokio::test]
    async fn no_key_leaves_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let store = objects(dir.path());
        std::fs::write(dir.path().join("secret"), "secret").unwrap();
        for key in ["../secret", "covers/../../secret", "covers//a", "./a"] {
            let Err(error) = store.info(key).await else {
                panic!("{key}");
            };
            assert!(error.is_missing(), "{key}: {error}");
            assert!(put(&store, &format!("{key}/..")).await.is_err(), "{key}");
        }
        assert_eq!(files(&dir.path().join("images")), Vec::<PathBuf>::new());
    }

    #[tokio::test]
    async fn what_could_not_be_stored_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let store = objects(dir.path());
        // A file where the object's directory is to be.
        let in_the_way = dir.path().join("images/covers");
        std::fs::write(&in_the_way, "").unwrap();
        let error = put(&store, KEY).await.unwrap_err();
        assert!(!error.is_missing(), "{error}");
        assert_eq!(files(dir.path()), [in_the_way]);
    }

    #[test]
    fn a_place_is_a_directory_or_a_bucket() {
        let directory = |dir: &str| Ok(ObjectPlace::Directory(dir.into()));
        assert_eq!("./images".parse(), directory("./images"));
        assert_eq!("/srv/images".parse(), directory("/srv/images"));
        for bucket in [
            "s3://bucket",
            "s3://bucket/prefix",
            "https://account.r2.cloudflarestorage.com/bucket/prefix",
        ] {
            let place: ObjectPlace = bucket.parse().unwrap();
            assert_eq!(place.to_string(), bucket);
        }
        for other in ["", "gs://bucket", "ftp://host/a", "s3://id:key@bucket/a"] {
            assert!(other.parse::<ObjectPlace>().is_err(), "{other}");
        }
    }
}
