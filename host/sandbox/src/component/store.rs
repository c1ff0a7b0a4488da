//! Compiled components on disk. Loading one runs its machine code, so nothing is loaded that this store's own key did
//! not seal; anything that does not match is compiled again.
//!
//! An entry is two files: `NAME.cwasm`, wasmtime's artifact, mapped into memory, and `NAME.seal`, JSON with the manifest
//! and the HMAC-SHA256 of the BLAKE3 digest of the artifact, followed by the HMAC-SHA256 of this JSON. NAME is the digest of the component and
//! a hash over the engine's settings, the processor features and the version of odibi. The key lies beside them, readable
//! by this user only: the store protects against damage, mix-ups and other users, not against the user who runs odibi.

use std::fs::{self, DirBuilder, File, Permissions};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use hmac::{Hmac, KeyInit as _, Mac as _};
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use tempfile::NamedTempFile;
use wasmtime::Engine;
use wasmtime::component::Component;

use super::{artifact, hex};
use crate::engine;

/// Raised when what is checked before compiling changes: older entries were let in by older rules.
const RULES: u32 = 3;
const KEY_BYTES: usize = 32;
const CODE_BYTES: usize = 32;
/// Read at once.
const CHUNK_BYTES: usize = 1 << 20;
/// Entries that are kept; the oldest go first.
const ENTRIES_MAX: usize = 64;
/// A file that belongs to no entry may be one that another process is about to rename, but not for so long.
const LEFT_BEHIND_AGE: Duration = Duration::from_secs(24 * 60 * 60);
/// Manifest and codes.
const SEAL_BYTES_MAX: u64 = 4 << 20;

/// A directory of compiled components.
#[derive(Debug)]
pub(crate) struct ArtifactStore {
    dir: PathBuf,
    key: [u8; KEY_BYTES],
    engine_hash: u64,
}

#[derive(Serialize, Deserialize)]
struct Seal {
    manifest: String,
    artifact_code: String,
}

impl ArtifactStore {
    /// Opens or makes the store.
    ///
    /// # Errors
    /// When the directory cannot be made private to this user; the sandbox then works without a store.
    pub(crate) fn open(dir: &Path, engine: &Engine) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let metadata = fs::metadata(dir)?;
        if metadata.uid() != rustix::process::geteuid().as_raw() {
            return Err(io::Error::other("the directory belongs to another user"));
        }
        if metadata.mode() & 0o077 != 0 {
            fs::set_permissions(dir, Permissions::from_mode(0o700))?;
        }
        let mut hash = DefaultHasher::new();
        engine::settings_hash(engine).hash(&mut hash);
        (env!("CARGO_PKG_VERSION"), RULES).hash(&mut hash);
        Ok(Self {
            dir: dir.to_owned(),
            key: key(dir)?,
            engine_hash: hash.finish(),
        })
    }

    /// A sealed component and its manifest; `None` when there is none, or when anything about it does not match.
    pub(crate) fn fetch(&self, engine: &Engine, digest: &str) -> Option<(Component, String)> {
        let name = self.name(digest)?;
        let seal = self.seal(&name)?;
        let path = self.path(&name, "cwasm");
        let mut file = open(&path).ok()?;
        let mut hasher = blake3::Hasher::new();
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            match file.read(&mut chunk) {
                Ok(0) => break,
                Ok(n) => {
                    hasher.update(&chunk[..n]);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
        }
        if self.artifact_code(&name, hasher.finalize()) != seal.artifact_code {
            return None;
        }
        artifact::sealed(engine, &path).map(|component| (component, seal.manifest))
    }

    /// The manifest of a sealed component.
    pub(crate) fn manifest(&self, digest: &str) -> Option<String> {
        self.seal(&self.name(digest)?).map(|seal| seal.manifest)
    }

    /// Seals a component. When that fails, it is compiled again next time; nothing else depends on it.
    pub(crate) fn keep(&self, digest: &str, artifact: &[u8], manifest: &str) {
        let Some(name) = self.name(digest) else {
            return;
        };
        let seal = Seal {
            manifest: manifest.to_owned(),
            artifact_code: self.artifact_code(&name, blake3::hash(artifact)),
        };
        let Ok(mut seal) = serde_json::to_vec(&seal) else {
            return;
        };
        let mut mac = self.mac(&name, "seal");
        mac.update(&seal);
        seal.extend_from_slice(&mac.finalize().into_bytes());
        // Two processes may seal the same component at once. Should their files mix, the codes do not match.
        if self
            .replace(&name, "cwasm", artifact)
            .and_then(|()| self.replace(&name, "seal", &seal))
            .is_ok()
        {
            self.prune();
        }
    }

    fn seal(&self, name: &str) -> Option<Seal> {
        let mut bytes = Vec::new();
        open(&self.path(name, "seal"))
            .ok()?
            .take(SEAL_BYTES_MAX)
            .read_to_end(&mut bytes)
            .ok()?;
        let (json, code) = bytes.split_at_checked(bytes.len().checked_sub(CODE_BYTES)?)?;
        let mut mac = self.mac(name, "seal");
        mac.update(json);
        mac.verify_slice(code).ok()?;
        serde_json::from_slice(json).ok()
    }

    /// The code of an artifact. Its digest comes first because SHA-256 alone would take most of the time of loading a large one.
    fn artifact_code(&self, name: &str, digest: blake3::Hash) -> String {
        let mut mac = self.mac(name, "artifact");
        mac.update(digest.as_bytes());
        hex(&mac.finalize().into_bytes())
    }

    /// The digest may come from a caller; it becomes a file name only if it is one of ours.
    fn name(&self, digest: &str) -> Option<String> {
        let fits = digest.len() == 64 && digest.bytes().all(|b| b.is_ascii_hexdigit());
        fits.then(|| format!("{digest}-{:016x}", self.engine_hash))
    }

    fn path(&self, name: &str, extension: &str) -> PathBuf {
        self.dir.join(format!("{name}.{extension}"))
    }

    fn mac(&self, name: &str, what: &str) -> Hmac<Sha256> {
        let mut mac = match Hmac::<Sha256>::new_from_slice(&self.key) {
            Ok(mac) => mac,
            Err(_) => unreachable!("HMAC takes keys of any length"),
        };
        for part in [what, name] {
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part.as_bytes());
        }
        mac
    }

    fn replace(&self, name: &str, extension: &str, bytes: &[u8]) -> io::Result<()> {
        let mut file = NamedTempFile::new_in(&self.dir)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(self.path(name, extension))?;
        Ok(())
    }

    /// Removes the oldest entries over [`ENTRIES_MAX`], and what processes that were killed left behind.
    fn prune(&self) {
        let Ok(entries) = fs::read_dir(&self.dir) else {
            return;
        };
        let mut files: Vec<(SystemTime, PathBuf)> = entries
            .flatten()
            .filter_map(|e| Some((e.metadata().ok()?.modified().ok()?, e.path())))
            .collect();
        files.sort();
        let is_seal = |path: &Path| path.extension().is_some_and(|x| x == "seal");
        let seals: Vec<PathBuf> = (files.iter())
            .filter(|(_, path)| is_seal(path))
            .map(|(_, path)| path.clone())
            .collect();
        let over = seals.len().saturating_sub(ENTRIES_MAX);
        for seal in &seals[..over] {
            // Another process may have been quicker.
            let _ = fs::remove_file(seal);
            let _ = fs::remove_file(seal.with_extension("cwasm"));
        }
        // The newest file has just been written, so there is no need to ask for the time.
        let newest = files.last().map(|(modified, _)| *modified);
        let old = newest.and_then(|newest| newest.checked_sub(LEFT_BEHIND_AGE));
        for (modified, path) in &files {
            let belongs = path.ends_with("key") || seals.contains(&path.with_extension("seal"));
            // Nothing that the store did not write, whoever chose this directory for it.
            let name = path.file_name().map(std::ffi::OsStr::as_encoded_bytes);
            let ours = path.extension().is_some_and(|x| x == "cwasm")
                || name.is_some_and(|name| name.starts_with(b".tmp"));
            if ours && !belongs && old.is_some_and(|old| *modified < old) {
                let _ = fs::remove_file(path);
            }
        }
    }
}

/// Opens a file that the store wrote: not what a link leads to, not a pipe that never ends.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = File::options()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::other("it is not a file"))
    }
}

/// The store's key, made at first use. A key that others could read is replaced, which voids what it sealed.
fn key(dir: &Path) -> io::Result<[u8; KEY_BYTES]> {
    let path = dir.join("key");
    if let Some(key) = read_key(&path) {
        return Ok(key);
    }
    let refused = match fs::symlink_metadata(&path) {
        Ok(_) => true,
        Err(e) if e.kind() == io::ErrorKind::NotFound => false,
        Err(e) => return Err(e),
    };
    let mut key = [0; KEY_BYTES];
    getrandom::fill(&mut key).map_err(|e| io::Error::other(e.to_string()))?;
    let mut file = NamedTempFile::new_in(dir)?;
    file.write_all(&key)?;
    file.as_file().sync_all()?;
    // Only one that was looked at and refused is replaced: another process may have made a sound one meanwhile, which counts.
    let kept = if refused && read_key(&path).is_none() {
        if path.is_dir() && !path.is_symlink() {
            return Err(io::Error::other("a directory stands in place of the key"));
        }
        file.persist(&path)
    } else {
        file.persist_noclobber(&path)
    };
    drop(kept);
    read_key(&path).ok_or_else(|| io::Error::other("the key cannot be read"))
}

fn read_key(path: &Path) -> Option<[u8; KEY_BYTES]> {
    let file = open(path).ok()?;
    let metadata = file.metadata().ok()?;
    if metadata.mode() & 0o077 != 0 || metadata.len() != KEY_BYTES as u64 {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(KEY_BYTES as u64).read_to_end(&mut bytes).ok()?;
    bytes.try_into().ok()
}

#[cfg(test)]
mod tests;
