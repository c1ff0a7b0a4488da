//! A component from its bytes to something that can be instantiated: inspected, compiled or fetched from the store,
//! linked, described.

mod artifact;
pub(crate) mod inspect;
pub(crate) mod store;

use std::borrow::Cow;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use odibi_plan::Manifest;
use odibi_run::{Cancel, MemoryBudget};
use odibi_story::event::ComponentOrigin;
use odibi_story::failure::{Failure, FailureClass};
use sha2::{Digest as _, Sha256};
use wasmtime::Engine;
use wasmtime::component::{Component, Linker};

use self::store::ArtifactStore;
use crate::compiler::{Bytes, Compiler};
use crate::host_api::meter::monotonic_ns;
use crate::host_api::{Guest, Logical};
use crate::instance::{Exports, Ready, Running};
use crate::limits::{COMPONENT_BYTES_MAX, Limits, exceeded};

/// A component that the caller holds, such as one embedded in the program.
#[derive(Debug, Clone)]
pub struct ComponentSource {
    /// Name for messages.
    pub name: String,
    /// The component.
    pub bytes: ComponentBytes,
    /// What `describe` returns, when the caller knows it: then its operations are known without loading it.
    pub manifest: Option<String>,
}

/// The bytes of a component.
#[derive(Debug, Clone)]
pub enum ComponentBytes {
    /// As they are.
    Plain(Cow<'static, [u8]>),
    /// Embedded, compressed with zstd: only compiling asks for them.
    Zstd {
        /// The compressed bytes.
        packed: &'static [u8],
        /// SHA-256 of the component, hex.
        sha256: &'static str,
        /// Length of the component.
        bytes: u64,
    },
}

impl From<Vec<u8>> for ComponentBytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Plain(bytes.into())
    }
}

impl ComponentBytes {
    /// The component itself.
    ///
    /// # Errors
    /// `internal/sandbox` when what is embedded is damaged.
    pub fn plain(self) -> Result<Cow<'static, [u8]>, Failure> {
        match self {
            Self::Plain(bytes) => Ok(bytes),
            Self::Zstd { packed, bytes, .. } => {
                let capacity = usize::try_from(bytes).unwrap_or(usize::MAX);
                zstd::bulk::decompress(packed, capacity)
                    .map(Cow::Owned)
                    .map_err(|e| {
                        let message = "a component that comes with odibi is damaged";
                        Failure::new(FailureClass::Internal, "internal/sandbox", message)
                            .cause(e.to_string())
                    })
            }
        }
    }
}

impl ComponentSource {
    /// Reads a component file. `name` is for messages.
    ///
    /// # Errors
    /// `plugin/missing`, `limit/component`.
    pub fn read(name: &str, path: &Path) -> Result<Self, Failure> {
        read_file(name, path)
    }
}

/// Compiling takes seconds, so the caller may want to say so.
#[derive(Debug, Clone)]
pub enum CompileNotice {
    /// Begins.
    Started {
        /// Which.
        plugin: String,
        /// Size of the component.
        bytes: u64,
    },
    /// Has ended, well or badly.
    Finished {
        /// Which.
        plugin: String,
        /// Size of the component.
        bytes: u64,
        /// How long it took.
        elapsed: Duration,
        /// Is there machine code?
        succeeded: bool,
    },
}

/// Hears of compilations; called from any thread.
pub type OnCompile = Arc<dyn Fn(CompileNotice) + Send + Sync>;

/// A component that can be instantiated.
pub(crate) struct Loaded {
    pub(crate) digest: String,
    pub(crate) manifest: Manifest,
    pub(crate) ready: Ready,
    origin: ComponentOrigin,
    /// The first step that uses it carries the cost of loading it; for the others it was there.
    charged: AtomicBool,
}

impl Loaded {
    /// How it came to be ready, for one more step.
    pub(crate) fn charge(&self) -> ComponentOrigin {
        if self.charged.swap(true, Ordering::AcqRel) {
            ComponentOrigin::Loaded
        } else {
            self.origin
        }
    }
}

/// What loading needs.
pub(crate) struct Loader {
    pub(crate) engine: Engine,
    pub(crate) linker: Linker<Guest>,
    pub(crate) store: Option<ArtifactStore>,
    pub(crate) compiler: Compiler,
    pub(crate) on_compile: Option<OnCompile>,
}

impl Loader {
    /// The manifest, when it can be had without running the component: what `validate` needs.
    pub(crate) fn known_manifest(
        &self,
        source: &ComponentSource,
    ) -> Option<Result<Manifest, Failure>> {
        let stored = || {
            self.store
                .as_ref()
                .and_then(|store| store.manifest(&digest(source)))
        };
        let json = source.manifest.clone().or_else(stored)?;
        Some(manifest(&source.name, &json))
    }

    /// # Errors
    /// `plugin/…`; whatever `describe` does wrong.
    pub(crate) fn load(
        &self,
        source: ComponentSource,
        limits: Arc<Limits>,
    ) -> Result<Loaded, Failure> {
        let digest = digest(&source);
        if let Some((component, json)) = self
            .store
            .as_ref()
            .and_then(|store| store.fetch(&self.engine, &digest))
        {
            let ready = self.link(&source.name, &component, limits)?;
            return Ok(Loaded {
                digest,
                manifest: manifest(&source.name, &json)?,
                ready,
                origin: ComponentOrigin::Stored,
                charged: AtomicBool::new(false),
            });
        }
        let bytes = source.bytes.plain().map_err(|f| named(f, &source.name))?;
        if bytes.len() as u64 > COMPONENT_BYTES_MAX {
            return Err(named(
                exceeded("component", COMPONENT_BYTES_MAX, bytes.len() as u64),
                &source.name,
            ));
        }
        inspect::inspect(&bytes).map_err(|f| named(f, &source.name))?;
        let start_ns = monotonic_ns();
        let (component, artifact) = self.compile(&source.name, &Arc::new(bytes))?;
        let compile_ms = (monotonic_ns() - start_ns) / 1_000_000;
        let ready = self.link(&source.name, &component, limits)?;
        let json = describe(&ready).map_err(|f| named(f, &source.name))?;
        let manifest = manifest(&source.name, &json)?;
        if let Some(store) = &self.store {
            store.keep(&digest, &artifact, &json);
        }
        Ok(Loaded {
            digest,
            manifest,
            ready,
            origin: ComponentOrigin::Compiled { compile_ms },
            charged: AtomicBool::new(false),
        })
    }

    /// A component that runs on this engine, and its artifact for the store.
    fn compile(&self, name: &str, bytes: &Bytes) -> Result<(Component, Vec<u8>), Failure> {
        let (plugin, size) = (name.to_owned(), bytes.len() as u64);
        let notify = |notice| self.on_compile.as_ref().map_or((), |tell| tell(notice));
        notify(CompileNotice::Started {
            plugin: plugin.clone(),
            bytes: size,
        });
        let start_ns = monotonic_ns();
        let compiled = self.compiler.compile(&self.engine, bytes);
        notify(CompileNotice::Finished {
            plugin,
            bytes: size,
            elapsed: Duration::from_nanos(monotonic_ns() - start_ns),
            succeeded: compiled.is_ok(),
        });
        let artifact = compiled.map_err(|f| named(f, name))?;
        let component = artifact::fresh(&self.engine, &artifact).map_err(|f| named(f, name))?;
        Ok((component, artifact))
    }

    fn link(
        &self,
        name: &str,
        component: &Component,
        limits: Arc<Limits>,
    ) -> Result<Ready, Failure> {
        let pre = self.linker.instantiate_pre(component).map_err(|e| {
            let message = format!("plugin `{name}` imports something that is not given to plugins");
            Failure::new(FailureClass::Denied, "plugin/denied-import", message)
                .cause(format!("{e:#}"))
        })?;
        let exports = Exports::find(component).map_err(|missing| {
            let message =
                format!("plugin `{name}` does not export what this odibi calls: {missing}");
            Failure::new(FailureClass::Contract, "plugin/interface-version", message)
        })?;
        Ok(Ready {
            pre,
            exports,
            limits,
        })
    }
}

/// Reads a component file of the project.
///
/// # Errors
/// `plugin/missing`, `plugin/not-a-component` when it cannot be read, `limit/component`.
pub(crate) fn read_file(name: &str, path: &Path) -> Result<ComponentSource, Failure> {
    let failed = |error: std::io::Error| {
        #[expect(clippy::wildcard_enum_match_arm, reason = "the cause says the rest")]
        let (class, code, what) = match error.kind() {
            std::io::ErrorKind::NotFound => (
                FailureClass::Missing,
                "plugin/missing",
                "there is no such file",
            ),
            std::io::ErrorKind::PermissionDenied => {
                (FailureClass::Denied, "plugin/missing", "it may not be read")
            }
            _ => (FailureClass::Missing, "plugin/missing", "it cannot be read"),
        };
        let message = format!(
            "plugin `{name}` cannot be loaded, {what}: {}",
            path.display()
        );
        Failure::new(class, code, message).cause(error.to_string())
    };
    // A pipe would never end, a device never stop.
    if !fs::metadata(path).map_err(failed)?.is_file() {
        let message = format!(
            "plugin `{name}` cannot be loaded, it is no regular file: {}",
            path.display()
        );
        return Err(Failure::new(
            FailureClass::Missing,
            "plugin/missing",
            message,
        ));
    }
    let file = File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(COMPONENT_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > COMPONENT_BYTES_MAX {
        return Err(named(
            exceeded("component", COMPONENT_BYTES_MAX, bytes.len() as u64),
            name,
        ));
    }
    Ok(ComponentSource {
        name: name.to_owned(),
        bytes: bytes.into(),
        manifest: None,
    })
}

pub(crate) fn digest(source: &ComponentSource) -> String {
    match &source.bytes {
        ComponentBytes::Plain(bytes) => hex(&Sha256::digest(bytes)),
        ComponentBytes::Zstd { sha256, .. } => (*sha256).to_owned(),
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

fn describe(ready: &Ready) -> Result<String, Failure> {
    let mut running = Running::start(
        ready,
        Logical::default(),
        Cancel::default(),
        MemoryBudget::default(),
    )?;
    let json = running.describe()?;
    let max = ready.limits.document_bytes_max;
    if json.len() > max {
        return Err(exceeded("plan-size", max as u64, json.len() as u64));
    }
    Ok(json)
}

fn manifest(name: &str, json: &str) -> Result<Manifest, Failure> {
    Manifest::parse(json).map_err(|e| {
        let message = format!("plugin `{name}` has an unusable manifest");
        Failure::new(FailureClass::Contract, "plugin/bad-manifest", message).cause(e.to_string())
    })
}

/// Says which plugin a failure of loading belongs to.
fn named(mut failure: Failure, name: &str) -> Failure {
    failure.message = format!("plugin `{name}`: {}", failure.message);
    failure
}
