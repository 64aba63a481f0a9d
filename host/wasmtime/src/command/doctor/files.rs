//! Files and directories that a server is given, and who may do what to them.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use super::report::Report;
use super::secrets::is_secret;
use crate::command::config::{DEV_VARS, names_in_dev_vars};
use crate::command::serve::Serve;
use crate::component::ClaimsFile;
use crate::services::assets::Assets;
use crate::services::objects::ObjectPlace;
use crate::storage::Location;

const CHECK: &str = "files";

/// Rights of a mode.
const OTHERS_WRITE: u32 = 0o002;
const OTHERS_READ: u32 = 0o004;
const GROUP_OR_OTHERS: u32 = 0o077;

/// Looks at all that the flags name.
pub fn check(serve: &Serve, is_production: bool, report: &mut Report) {
    dev_vars(Path::new(DEV_VARS), is_production, report);
    if let Location::Sqlite(dir) = &serve.storage {
        data(dir, is_production, report);
    }
    if let Some(file) = &serve.claims_versions {
        claims(file, report);
    }
    if let Some(ObjectPlace::Directory(dir)) = &serve.images {
        directory("--images", dir, report);
    }
    if let Some(dir) = &serve.assets {
        assets(dir, report);
    }
    if let Some(file) = &serve.llm_tools {
        match fs::read_to_string(file) {
            Ok(_) => report.ok(CHECK, format!("--llm-tools {} can be read", file.display())),
            Err(error) => report.fail(
                CHECK,
                format!("--llm-tools {} cannot be read: {error}", file.display()),
                "Let this user read it, or name another",
            ),
        }
    }
}

/// The file with development's secrets.
fn dev_vars(file: &Path, is_production: bool, report: &mut Report) {
    let Ok(metadata) = fs::metadata(file) else {
        return;
    };
    if is_production {
        report.ok(
            CHECK,
            format!("{DEV_VARS} is there, and production ignores it"),
        );
        return;
    }
    let names = names_in_dev_vars(Path::new(".")).unwrap_or_default();
    let has_secrets = names.iter().any(|name| is_secret(name));
    if has_secrets && metadata.mode() & GROUP_OR_OTHERS != 0 {
        report.warn(
            CHECK,
            format!(
                "{DEV_VARS} has secrets, and others may read it ({})",
                mode(&metadata)
            ),
            format!("`chmod 600 {DEV_VARS}`"),
        );
    } else {
        report.ok(CHECK, format!("{DEV_VARS} is read ({})", mode(&metadata)));
    }
}

/// The data directory, and what is in it.
fn data(dir: &Path, is_production: bool, report: &mut Report) {
    let Some(metadata) = directory("--storage", dir, report) else {
        return;
    };
    if metadata.mode() & OTHERS_WRITE != 0 {
        report.fail(
            CHECK,
            format!(
                "everybody on this machine may write {} ({})",
                dir.display(),
                mode(&metadata)
            ),
            format!("`chmod 700 {}`", dir.display()),
        );
    } else if is_production && metadata.mode() & OTHERS_READ != 0 {
        report.warn(
            CHECK,
            format!(
                "everybody on this machine may read {}, with every store's events ({})",
                dir.display(),
                mode(&metadata)
            ),
            format!("`chmod 700 {}`", dir.display()),
        );
    }
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_ours = ["shard-", "quotas.db", "syncline.lock"]
            .iter()
            .any(|it| name.starts_with(it));
        if is_ours && let Err(error) = access(&path, Access::READ_OK | Access::WRITE_OK) {
            report.fail(
                CHECK,
                format!(
                    "{} may not be read and written by this user: {error}",
                    path.display()
                ),
                owner_words(&path),
            );
        }
    }
}

/// A directory that has to be writable, or one that can be made. Its metadata,
/// if it is there.
fn directory(flag: &str, dir: &Path, report: &mut Report) -> Option<Metadata> {
    match fs::metadata(dir) {
        Ok(metadata) if !metadata.is_dir() => {
            report.fail(
                CHECK,
                format!("{flag}: {} is no directory", dir.display()),
                "Name a directory",
            );
            None
        }
        Ok(metadata) => {
            match access(dir, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK) {
                Ok(()) => report.ok(
                    CHECK,
                    format!(
                        "{flag}: {} can be written ({})",
                        dir.display(),
                        mode(&metadata)
                    ),
                ),
                Err(error) => report.fail(
                    CHECK,
                    format!(
                        "{flag}: {} cannot be written by this user: {error}",
                        dir.display()
                    ),
                    owner_words(dir),
                ),
            }
            Some(metadata)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let parent = existing(dir);
            match access(&parent, Access::WRITE_OK | Access::EXEC_OK) {
                Ok(()) => report.ok(
                    CHECK,
                    format!(
                        "{flag}: {} is not there yet, and will be made",
                        dir.display()
                    ),
                ),
                Err(error) => report.fail(
                    CHECK,
                    format!(
                        "{flag}: {} is not there, and cannot be made in {}: {error}",
                        dir.display(),
                        parent.display()
                    ),
                    owner_words(&parent),
                ),
            }
            None
        }
        Err(error) => {
            report.fail(
                CHECK,
                format!("{flag}: {} cannot be looked at: {error}", dir.display()),
                "Let this user go there",
            );
            None
        }
    }
}

/// The nearest directory above that is there.
pub(super) fn existing(path: &Path) -> PathBuf {
    let mut above = path.ancestors().filter(|it| !it.as_os_str().is_empty());
    let found = above.find(|it| it.exists());
    found.map_or_else(|| PathBuf::from("."), Path::to_owned)
}

fn claims(file: &Path, report: &mut Report) {
    match ClaimsFile::new(Some(file.to_owned())).current_version("") {
        Err(words) => report.fail(
            CHECK,
            format!("--claims-versions {words}"),
            r#"It has to be a JSON object of versions, such as {"workspace-claims-version:ada": 2}; while it is not, nobody is admitted"#,
        ),
        Ok(_) => match fs::metadata(file) {
            Ok(metadata) if metadata.mode() & OTHERS_WRITE != 0 => report.fail(
                CHECK,
                format!(
                    "--claims-versions: everybody on this machine may write {}, and take or give access with it ({})",
                    file.display(),
                    mode(&metadata)
                ),
                format!("`chmod 644 {}`", file.display()),
            ),
            _ => report.ok(CHECK, format!("--claims-versions {} can be read", file.display())),
        },
    }
}

fn assets(dir: &Path, report: &mut Report) {
    match Assets::open(dir) {
        Err(error) => report.fail(
            CHECK,
            format!("--assets: {error}"),
            "Name the app's directory",
        ),
        Ok(assets) if !assets.has_index() => report.warn(
            CHECK,
            format!(
                "--assets: {} has no index.html: whoever opens the app sees nothing",
                dir.display()
            ),
            "Name the directory that the app's bundler has written",
        ),
        Ok(_) => report.ok(
            CHECK,
            format!("--assets: {} has an index.html", dir.display()),
        ),
    }
}

/// Who owns it, and who asks.
fn owner_words(path: &Path) -> String {
    let user = rustix::process::geteuid().as_raw();
    match fs::metadata(path) {
        Ok(metadata) if metadata.uid() != user => format!(
            "It is user {}'s, and this is user {user}: run the server, and the doctor, as its owner, or `chown -R` it",
            metadata.uid()
        ),
        _ => format!(
            "Let this user ({user}) write it, and see that the disk is not mounted read-only"
        ),
    }
}

fn mode(metadata: &Metadata) -> String {
    format!("mode {:03o}", metadata.permissions().mode() & 0o777)
}
