//! The sandbox as the rest of odibi sees it: finds operations, loads each component at most once.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use odibi_plan::plan::{Grants, OperationRef};
use odibi_plan::{GuestLimits, Manifest};
use odibi_run::port::{Operation, Transforms};
use odibi_story::failure::{Failure, FailureClass};
use wasmtime::Engine;

use crate::capture::{Capture, Captured, Recorder};
use crate::compiler::Compiler;
use crate::component::store::ArtifactStore;
use crate::component::{ComponentSource, Loaded, Loader, OnCompile, read_file};
use crate::limits::Limits;
use crate::operation::Found;
use crate::{engine, host_api};

/// What a sandbox is made of.
pub struct Options {
    /// Directory of compiled components, private to this user. `None`, or one that cannot be used: compile every time.
    pub store_dir: Option<PathBuf>,
    /// Directory that plugin paths are relative to.
    pub project_dir: PathBuf,
    /// Components that come with odibi. Their operations have bare names; the first that has a name wins.
    pub first_party: Vec<ComponentSource>,
    /// Component files of the project, by their key in `plugins:`.
    pub plugins: BTreeMap<String, PathBuf>,
    /// What the project grants them, by the same key. Who is not in it gets nothing.
    pub grants: BTreeMap<String, Grants>,
    /// What each instance may use, unless a step says otherwise.
    pub limits: Limits,
    /// What the components of the project may use instead, by their key in `plugins:`.
    pub plugin_limits: BTreeMap<String, GuestLimits>,
    /// Where components are compiled.
    pub compiler: Compiler,
    /// Hears of compilations.
    pub on_compile: Option<OnCompile>,
    /// Records what plugins fail on. `None`: nothing is recorded, and it costs nothing.
    pub capture: Option<Capture>,
}

/// Runs operations of components, each in an instance of its own.
#[derive(Clone)]
pub struct Sandbox {
    inner: Arc<Inner>,
}

struct Inner {
    loader: Loader,
    project_dir: PathBuf,
    first_party: Vec<ComponentSource>,
    plugins: BTreeMap<String, PathBuf>,
    grants: BTreeMap<String, Grants>,
    limits: Arc<Limits>,
    plugin_limits: BTreeMap<String, GuestLimits>,
    recorder: Option<Arc<Recorder>>,
    /// One for each component that was asked for. A component is loaded under its own lock, so that two load at once.
    slots: Mutex<HashMap<Key, Slot>>,
}

type Slot = Arc<Mutex<Option<Arc<Loaded>>>>;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    /// Index into `first_party`.
    First(usize),
    /// Key of `plugins`.
    Plugin(String),
}

impl Sandbox {
    /// Starts the engine. Components are loaded when they are asked for.
    ///
    /// # Errors
    /// `Internal` when this machine cannot run the engine.
    pub fn new(options: Options) -> Result<Self, Failure> {
        Self::with(engine::start()?, options)
    }

    /// As [`Sandbox::new`], with other settings of the engine. Only for a benchmark.
    ///
    /// # Errors
    /// As [`Sandbox::new`].
    #[doc(hidden)]
    pub fn tuned(tuning: engine::Tuning, options: Options) -> Result<Self, Failure> {
        Self::with(engine::start_tuned(tuning)?, options)
    }

    /// As [`Sandbox::new`], with an engine that counts the work of guests: `Ledger::work`. Slower.
    ///
    /// # Errors
    /// As [`Sandbox::new`].
    pub fn metered(options: Options) -> Result<Self, Failure> {
        Self::with(engine::start_metered()?, options)
    }

    fn with(engine: Engine, options: Options) -> Result<Self, Failure> {
        let linker = host_api::linker(&engine).map_err(|e| {
            Failure::new(
                FailureClass::Internal,
                "internal/engine",
                "the sandbox cannot link its own interface",
            )
            .cause(format!("{e:#}"))
        })?;
        let store = options
            .store_dir
            .and_then(|dir| ArtifactStore::open(&dir, &engine).ok());
        Ok(Self {
            inner: Arc::new(Inner {
                loader: Loader {
                    engine,
                    linker,
                    store,
                    compiler: options.compiler,
                    on_compile: options.on_compile,
                },
                project_dir: options.project_dir,
                first_party: options.first_party,
                plugins: options.plugins,
                grants: options.grants,
                limits: Arc::new(options.limits),
                plugin_limits: options.plugin_limits,
                recorder: options.capture.map(Recorder::new).map(Arc::new),
                slots: Mutex::default(),
            }),
        })
    }

    /// What a plugin of the project says of itself. Blocks: the first time in a store's life, it compiles.
    ///
    /// # Errors
    /// `plugin/…`, or what its `describe` does wrong.
    pub fn manifest(&self, plugin: &str) -> Result<Manifest, Failure> {
        self.inner.manifest(&Key::Plugin(plugin.to_owned()))
    }

    /// Manifests of the components that come with odibi, in their order. Blocks as [`Sandbox::manifest`].
    ///
    /// # Errors
    /// As [`Sandbox::manifest`].
    pub fn first_party(&self) -> Result<Vec<Manifest>, Failure> {
        (0..self.inner.first_party.len())
            .map(|index| self.inner.manifest(&Key::First(index)))
            .collect()
    }

    /// False when nothing that is compiled will be there next time.
    #[must_use]
    pub fn has_store(&self) -> bool {
        self.inner.loader.store.is_some()
    }

    /// Makes every component ready that comes with odibi or that the project names, so that the store has them. Blocks as
    /// [`Sandbox::manifest`].
    ///
    /// # Errors
    /// As [`Sandbox::manifest`].
    pub fn load_all(&self) -> Result<Vec<Manifest>, Failure> {
        let first = (0..self.inner.first_party.len()).map(Key::First);
        let plugins = self.inner.plugins.keys().cloned().map(Key::Plugin);
        first
            .chain(plugins)
            .map(|key| Ok(self.inner.load(&key)?.manifest.clone()))
            .collect()
    }

    /// An operation, as itself. Blocks as [`Sandbox::manifest`].
    pub(crate) fn find(&self, reference: &OperationRef) -> Result<Found, Failure> {
        self.inner.find(reference)
    }
}

#[async_trait]
impl Transforms for Sandbox {
    async fn resolve(
        &self,
        reference: &OperationRef,
        limits: &GuestLimits,
    ) -> Result<Arc<dyn Operation>, Failure> {
        let (inner, reference) = (Arc::clone(&self.inner), reference.clone());
        let limits = limits.clone();
        // Compiling takes seconds, and even `describe` is guest code.
        let found = tokio::task::spawn_blocking(move || inner.operation(&reference, &limits)).await;
        found.unwrap_or_else(|e| {
            let message = "loading a component panicked";
            Err(Failure::new(FailureClass::Internal, "run/panic", message).cause(e.to_string()))
        })
    }
}

impl Inner {
    fn operation(
        &self,
        reference: &OperationRef,
        limits: &GuestLimits,
    ) -> Result<Arc<dyn Operation>, Failure> {
        let found = self.find(reference)?.under(limits);
        let Some(recorder) = &self.recorder else {
            return Ok(Arc::new(found));
        };
        let path = reference.plugin.as_ref().and_then(|p| self.plugins.get(p));
        let path = path.map(|path| self.project_dir.join(path));
        Ok(Arc::new(Captured::new(found, path, Arc::clone(recorder))))
    }

    fn find(&self, reference: &OperationRef) -> Result<Found, Failure> {
        let key = match &reference.plugin {
            Some(plugin) => Key::Plugin(plugin.clone()),
            None => self.first_party_with(&reference.name)?,
        };
        let loaded = self.load(&key)?;
        if !loaded
            .manifest
            .operations
            .iter()
            .any(|o| o.name == reference.name)
        {
            return Err(missing(reference));
        }
        let mut found = Found::new(loaded, reference.to_string(), reference.name.clone());
        let granted = reference.plugin.as_ref().and_then(|p| self.grants.get(p));
        found.grants = granted.copied().unwrap_or_default();
        Ok(found)
    }

    fn first_party_with(&self, name: &str) -> Result<Key, Failure> {
        for index in 0..self.first_party.len() {
            let key = Key::First(index);
            if self
                .manifest(&key)?
                .operations
                .iter()
                .any(|o| o.name == name)
            {
                return Ok(key);
            }
        }
        Err(missing(&OperationRef {
            plugin: None,
            name: name.to_owned(),
        }))
    }

    fn manifest(&self, key: &Key) -> Result<Manifest, Failure> {
        if let Some(loaded) = self.loaded(key) {
            return Ok(loaded.manifest.clone());
        }
        match self.loader.known_manifest(&self.source(key)?) {
            Some(known) => known,
            None => self.load(key).map(|loaded| loaded.manifest.clone()),
        }
    }

    fn source(&self, key: &Key) -> Result<ComponentSource, Failure> {
        match key {
            Key::First(index) => self.first_party.get(*index).cloned().ok_or_else(|| {
                Failure::new(
                    FailureClass::Internal,
                    "internal/sandbox",
                    "a component that comes with odibi is not there",
                )
            }),
            Key::Plugin(name) => match self.plugins.get(name) {
                Some(path) => read_file(name, &self.project_dir.join(path)),
                None => {
                    let message = format!("there is no plugin `{name}` under `plugins:`");
                    Err(Failure::new(
                        FailureClass::Missing,
                        "plugin/missing",
                        message,
                    ))
                }
            },
        }
    }

    fn limits_of(&self, key: &Key) -> Arc<Limits> {
        let set = match key {
            Key::First(_) => None,
            Key::Plugin(name) => self.plugin_limits.get(name),
        };
        set.map_or_else(
            || Arc::clone(&self.limits),
            |set| Arc::new(self.limits.with(set)),
        )
    }

    fn slot(&self, key: &Key) -> Slot {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(slots.entry(key.clone()).or_default())
    }

    fn loaded(&self, key: &Key) -> Option<Arc<Loaded>> {
        self.slot(key)
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Loads at most once: whoever comes second waits for the first.
    fn load(&self, key: &Key) -> Result<Arc<Loaded>, Failure> {
        let slot = self.slot(key);
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(loaded) = slot.as_ref() {
            return Ok(Arc::clone(loaded));
        }
        let limits = self.limits_of(key);
        let loaded = Arc::new(self.loader.load(self.source(key)?, limits)?);
        *slot = Some(Arc::clone(&loaded));
        Ok(loaded)
    }
}

fn missing(reference: &OperationRef) -> Failure {
    Failure::new(
        FailureClass::Missing,
        "plugin/missing",
        format!("there is no operation `{reference}`"),
    )
    .hint("run `odibi list operations` to see every name")
}
