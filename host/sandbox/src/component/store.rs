//! Compiled components on disk. Loading one runs its machine code, so nothing is loaded that this store's own key did
//! not seal; anything that does not match is compiled again.
//!
//! An entry is two files: `NAME.cwasm`, wasmtime's artifact, mapped into memory, and `NAME.seal`, JSON with the manifest
//! and the HMAC-SHA256 of both. NAME is the digest of the component and a hash over the engine's settings, the processor
//! features and the version of odibi. The key lies beside them, readable by this user only: the store protects against
//! damage, mix-ups and other users, not against the user who runs odibi.

use std::fs::{self, DirBuilder, File, Permissions};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use tempfile::NamedTempFile;
use wasmtime::Engine;
use wasmtime::component::Component;

use super::hex;

/// Raised when what is checked before compiling changes: older entries were let in by older rules.
const RULES: u32 = 1;
const KEY_BYTES: usize = 32;
/// Entries that are kept; the oldest go first.
const ENTRIES_MAX: usize = 64;
/// Manifest and two codes, as JSON.
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
    manifest_code: String,
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
        engine.precompile_compatibility_hash().hash(&mut hash);
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
        let mut file = File::open(&path).ok()?;
        let mut mac = self.mac(&name, "artifact");
        let mut chunk = vec![0; 256 << 10];
        loop {
            match file.read(&mut chunk) {
                Ok(0) => break,
                Ok(n) => mac.update(&chunk[..n]),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
        }
        matches(mac, &seal.artifact_code)?;
        load(engine, &path).map(|component| (component, seal.manifest))
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
        let code = |what: &str, bytes: &[u8]| {
            let mut mac = self.mac(&name, what);
            mac.update(bytes);
            hex(&mac.finalize().into_bytes())
        };
        let seal = Seal {
            manifest: manifest.to_owned(),
            manifest_code: code("manifest", manifest.as_bytes()),
            artifact_code: code("artifact", artifact),
        };
        let Ok(seal) = serde_json::to_vec(&seal) else {
            return;
        };
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
        let mut text = Vec::new();
        File::open(self.path(name, "seal"))
            .ok()?
            .take(SEAL_BYTES_MAX)
            .read_to_end(&mut text)
            .ok()?;
        let seal: Seal = serde_json::from_slice(&text).ok()?;
        let mut mac = self.mac(name, "manifest");
        mac.update(seal.manifest.as_bytes());
        matches(mac, &seal.manifest_code)?;
        Some(seal)
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

    /// Removes the oldest entries over [`ENTRIES_MAX`].
    fn prune(&self) {
        let Ok(entries) = fs::read_dir(&self.dir) else {
            return;
        };
        let mut seals: Vec<(SystemTime, PathBuf)> = entries
            .flatten()
            .filter(|e| e.path().extension().is_some_and(|x| x == "seal"))
            .filter_map(|e| Some((e.metadata().ok()?.modified().ok()?, e.path())))
            .collect();
        seals.sort();
        let over = seals.len().saturating_sub(ENTRIES_MAX);
        for (_, seal) in &seals[..over] {
            // Another process may have been quicker.
            let _ = fs::remove_file(seal);
            let _ = fs::remove_file(seal.with_extension("cwasm"));
        }
    }
}

fn matches(mac: Hmac<Sha256>, code: &str) -> Option<()> {
    let bytes: Option<Vec<u8>> = code
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect();
    mac.verify_slice(&bytes?).ok()
}

#[expect(
    unsafe_code,
    reason = "wasmtime cannot tell a sound artifact from a forged one; the seal can"
)]
fn load(engine: &Engine, path: &Path) -> Option<Component> {
    // SAFETY: the file's HMAC was just checked with a key that only this user can read, so `keep` wrote it, from
    // `Component::serialize` of an engine with the same compatibility hash. Files of the store are never written in
    // place, only replaced by rename, so the mapping does not change under the running code.
    unsafe { Component::deserialize_file(engine, path) }.ok()
}

/// The store's key, made at first use. A key that others could read is replaced, which voids what it sealed.
fn key(dir: &Path) -> io::Result<[u8; KEY_BYTES]> {
    let path = dir.join("key");
    if let Some(key) = read_key(&path) {
        return Ok(key);
    }
    match fs::remove_file(&path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let mut key = [0; KEY_BYTES];
    getrandom::fill(&mut key).map_err(|e| io::Error::other(e.to_string()))?;
    let mut file = NamedTempFile::new_in(dir)?;
    file.write_all(&key)?;
    file.as_file().sync_all()?;
    match file.persist_noclobber(&path) {
        Ok(_) => Ok(key),
        // Another process made one meanwhile: it counts.
        Err(_) => read_key(&path).ok_or_else(|| io::Error::other("the key cannot be read")),
    }
}

fn read_key(path: &Path) -> Option<[u8; KEY_BYTES]> {
    let file = File::open(path).ok()?;
    let metadata = file.metadata().ok()?;
    if metadata.mode() & 0o077 != 0 || metadata.len() != KEY_BYTES as u64 {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(KEY_BYTES as u64).read_to_end(&mut bytes).ok()?;
    bytes.try_into().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    /// `(component)`.
    const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

    fn digest() -> String {
        "ab".repeat(32)
    }

    fn filled() -> (tempfile::TempDir, Engine, ArtifactStore) {
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::default();
        let store = ArtifactStore::open(&dir.path().join("store"), &engine).unwrap();
        let component = Component::from_binary(&engine, EMPTY).unwrap();
        store.keep(&digest(), &component.serialize().unwrap(), "{}");
        (dir, engine, store)
    }

    fn file(store: &ArtifactStore, extension: &str) -> PathBuf {
        store.path(&store.name(&digest()).unwrap(), extension)
    }

    #[test]
    fn what_is_kept_can_be_fetched_by_a_later_process() {
        let (_dir, engine, store) = filled();
        let again = ArtifactStore::open(&store.dir, &engine).unwrap();
        assert_eq!(again.fetch(&engine, &digest()).unwrap().1, "{}");
        assert_eq!(again.manifest(&digest()).unwrap(), "{}");
        assert!(again.fetch(&engine, &"cd".repeat(32)).is_none());
        assert!(again.fetch(&engine, "../../etc/passwd").is_none());
    }

    #[test]
    fn any_flipped_byte_voids_the_entry() {
        let (_dir, engine, store) = filled();
        for extension in ["cwasm", "seal"] {
            let path = file(&store, extension);
            let sound = fs::read(&path).unwrap();
            let step = (sound.len() / 100).max(1);
            for at in (0..sound.len()).step_by(step) {
                let mut spoilt = sound.clone();
                spoilt[at] ^= 1;
                fs::write(&path, &spoilt).unwrap();
                assert!(
                    store.fetch(&engine, &digest()).is_none(),
                    "byte {at} of {extension}"
                );
            }
            fs::write(&path, &sound[..sound.len() - 1]).unwrap();
            assert!(
                store.fetch(&engine, &digest()).is_none(),
                "truncated {extension}"
            );
            fs::write(&path, &sound).unwrap();
            assert!(store.fetch(&engine, &digest()).is_some());
        }
    }

    #[test]
    fn an_entry_cannot_stand_in_for_another() {
        let (_dir, engine, store) = filled();
        let other = "cd".repeat(32);
        for extension in ["cwasm", "seal"] {
            fs::copy(
                file(&store, extension),
                store.path(&store.name(&other).unwrap(), extension),
            )
            .unwrap();
        }
        assert!(store.fetch(&engine, &other).is_none());
        assert!(store.manifest(&other).is_none());
    }

    #[test]
    fn store_and_key_are_private_and_a_bared_key_is_replaced() {
        let (_dir, engine, store) = filled();
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!(mode(&store.dir), 0o700);
        assert_eq!(mode(&store.dir.join("key")), 0o600);
        fs::set_permissions(store.dir.join("key"), Permissions::from_mode(0o644)).unwrap();
        let again = ArtifactStore::open(&store.dir, &engine).unwrap();
        assert_ne!(again.key, store.key);
        assert_eq!(mode(&store.dir.join("key")), 0o600);
        assert!(again.fetch(&engine, &digest()).is_none());
    }

    #[test]
    fn many_openers_agree_on_one_key() {
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::default();
        let keys: Vec<[u8; KEY_BYTES]> = std::thread::scope(|scope| {
            let open = || ArtifactStore::open(dir.path(), &engine).unwrap().key;
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        assert!(keys.iter().all(|key| *key == keys[0]));
    }
}
