//! One instance of a component: its store, its exports, and the guard around every entry into the guest.

use std::sync::Arc;

use odibi_run::{Cancel, MemoryBudget};
use odibi_story::failure::Failure;
use wasmtime::component::{
    Component, ComponentExportIndex, ComponentNamedList, Instance, InstancePre, Lift, Lower,
    TypedFunc,
};
use wasmtime::{Store, StoreContextMut, UpdateDeadline};

use crate::contract::{self, Appetite, Context, GuestFailure, NodePlan};
use crate::exchange::encode::Message;
use crate::failure::of_call;
use crate::host_api::{Guest, Logical, Stop};
use crate::limits::Limits;

type Answer<T> = (Result<T, GuestFailure>,);
pub(crate) type PlanParams = (String, String, Vec<Vec<u8>>);
pub(crate) type OpenParams = (Context, String, String, Vec<u8>, Vec<Vec<u8>>);
pub(crate) type ProcessParams = (u32, Message);

/// Where the exports are found; looked up once for a component.
#[derive(Debug, Clone)]
pub(crate) struct Exports {
    describe: ComponentExportIndex,
    plan: ComponentExportIndex,
    open: ComponentExportIndex,
    process: ComponentExportIndex,
    drain: ComponentExportIndex,
    finish: ComponentExportIndex,
}

impl Exports {
    /// # Errors
    /// The name of the first that is missing.
    pub(crate) fn find(component: &Component) -> Result<Self, String> {
        let find = |interface: &str, name: &str| {
            let interface = contract::versioned(interface);
            let outer = component
                .get_export_index(None, &interface)
                .ok_or_else(|| interface.clone())?;
            component
                .get_export_index(Some(&outer), name)
                .ok_or_else(|| format!("{interface}#{name}"))
        };
        Ok(Self {
            describe: find(contract::PLANNING, "describe")?,
            plan: find(contract::PLANNING, "plan")?,
            open: find(contract::EXECUTION, "open")?,
            process: find(contract::EXECUTION, "process")?,
            drain: find(contract::EXECUTION, "drain")?,
            finish: find(contract::EXECUTION, "finish")?,
        })
    }
}

/// A component ready to be instantiated.
#[derive(Clone)]
pub(crate) struct Ready {
    pub(crate) pre: InstancePre<Guest>,
    pub(crate) exports: Exports,
    pub(crate) limits: Arc<Limits>,
}

/// An instance. Drop it after the first failure.
pub(crate) struct Running {
    store: Store<Guest>,
    instance: Instance,
    exports: Exports,
    /// Looked up at the first batch, then kept: the only one called often.
    process: Option<TypedFunc<ProcessParams, Answer<Appetite>>>,
}

impl Running {
    /// # Errors
    /// As any entry into a guest: a component may run code when it starts.
    pub(crate) fn start(
        ready: &Ready,
        logical: Logical,
        cancel: Cancel,
        memory: MemoryBudget,
    ) -> Result<Self, Failure> {
        let guest = Guest::new(Arc::clone(&ready.limits), logical, cancel, memory);
        let mut store = Store::new(ready.pre.engine(), guest);
        store.limiter(|guest| &mut guest.limiter);
        store.set_max_component_handles(ready.limits.handles_max);
        store.set_hostcall_fuel(ready.limits.hostcall_fuel_bytes());
        store.epoch_deadline_callback(|cx: StoreContextMut<'_, Guest>| {
            match cx.data().meter.check() {
                Ok(()) => Ok(UpdateDeadline::Continue(1)),
                Err(failure) => Err(Stop::from(failure).into()),
            }
        });
        // Fails unless the engine counts.
        store.data_mut().meter.work = store.get_fuel().ok().map(|_| 0);
        let instance = guarded(&mut store, |store| ready.pre.instantiate(store))?;
        Ok(Self {
            store,
            instance,
            exports: ready.exports.clone(),
            process: None,
        })
    }

    pub(crate) fn guest(&self) -> &Guest {
        self.store.data()
    }

    pub(crate) fn guest_mut(&mut self) -> &mut Guest {
        self.store.data_mut()
    }

    pub(crate) fn describe(&mut self) -> Result<String, Failure> {
        let export = self.exports.describe;
        self.call::<(), (String,)>(&export, ())
            .map(|(manifest,)| manifest)
    }

    pub(crate) fn plan(
        &mut self,
        params: PlanParams,
    ) -> Result<Result<NodePlan, GuestFailure>, Failure> {
        let export = self.exports.plan;
        self.call::<PlanParams, Answer<NodePlan>>(&export, params)
            .map(|(answer,)| answer)
    }

    pub(crate) fn open(&mut self, params: OpenParams) -> Result<Result<(), GuestFailure>, Failure> {
        let export = self.exports.open;
        self.call::<OpenParams, Answer<()>>(&export, params)
            .map(|(answer,)| answer)
    }

    pub(crate) fn process(
        &mut self,
        params: ProcessParams,
    ) -> Result<Result<Appetite, GuestFailure>, Failure> {
        let Self {
            store,
            instance,
            exports,
            process,
        } = self;
        let found = match process {
            Some(found) => found,
            None => {
                let found = instance.get_typed_func(&mut *store, exports.process);
                process.insert(found.map_err(|e| of_call(e, store.data_mut()))?)
            }
        };
        guarded(store, |store| found.call(store, params)).map(|(answer,)| answer)
    }

    pub(crate) fn drain(&mut self, port: u32) -> Result<Result<(), GuestFailure>, Failure> {
        let export = self.exports.drain;
        self.call::<(u32,), Answer<()>>(&export, (port,))
            .map(|(answer,)| answer)
    }

    pub(crate) fn finish(&mut self) -> Result<Result<Option<String>, GuestFailure>, Failure> {
        let export = self.exports.finish;
        self.call::<(), Answer<Option<String>>>(&export, ())
            .map(|(answer,)| answer)
    }

    fn call<P, R>(&mut self, export: &ComponentExportIndex, params: P) -> Result<R, Failure>
    where
        P: ComponentNamedList + Lower,
        R: ComponentNamedList + Lift,
    {
        let instance = self.instance;
        guarded(&mut self.store, |store| {
            let function = instance.get_typed_func::<P, R>(&mut *store, export)?;
            function.call(store, params)
        })
    }
}

/// Enters the guest: budgets are armed anew, time is counted, whatever goes wrong is classified.
fn guarded<R>(
    store: &mut Store<Guest>,
    enter: impl FnOnce(&mut Store<Guest>) -> wasmtime::Result<R>,
) -> Result<R, Failure> {
    store.set_epoch_deadline(1);
    let metered = store.data().meter.work.is_some();
    if metered {
        // Never runs out: the epoch and the limits stop a guest, fuel only counts.
        store
            .set_fuel(u64::MAX)
            .map_err(|e| of_call(e, store.data_mut()))?;
    }
    let guest = store.data_mut();
    guest.limiter.rearm();
    guest.meter.enter();
    let result = enter(store);
    // A call that was stopped has not written its count back, so it does not count.
    let used = (metered && result.is_ok()).then(|| u64::MAX - store.get_fuel().unwrap_or(u64::MAX));
    let guest = store.data_mut();
    guest.meter.leave();
    if let (Some(work), Some(used)) = (&mut guest.meter.work, used) {
        *work = work.saturating_add(used);
    }
    result.map_err(|e| of_call(e, guest))
}
