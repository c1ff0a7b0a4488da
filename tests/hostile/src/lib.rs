//! A component that misbehaves on request: the name of the operation selects how.
//!
//! A few operations are honest, so that a test can show that the host still works after an attack. Each module is one
//! family of attacks; `aim` puts those of `attack` into every place there is, the others are at home in one place.

mod aim;
mod attack;
#[cfg(feature = "arrow")]
mod bytes;
#[cfg(feature = "arrow")]
mod canary;
#[cfg(feature = "arrow")]
mod crafted;
#[cfg(feature = "arrow")]
mod greed;
#[cfg(feature = "arrow")]
mod honest;
#[cfg(feature = "arrow")]
mod late;
#[cfg(feature = "arrow")]
mod leak;
#[cfg(feature = "arrow")]
mod lies;
mod outside;
#[cfg(feature = "arrow")]
mod rows;
#[cfg(feature = "arrow")]
mod wire;

wit_bindgen::generate!({
    path: "../../wit/odibi-node.wit",
    world: "transform",
    ownership: Borrowing { duplicate_if_necessary: false },
});

use exports::odibi::node::execution::{Appetite, Context, Guest as Execution};
#[cfg(feature = "arrow")]
use exports::odibi::node::planning::PassedColumn;
use exports::odibi::node::planning::{
    Columns, Feed, Guest as Planning, InputPlan, NodePlan, OutputPlan, Spread,
};
use odibi::node::output::{Origin, emit};
#[cfg(feature = "arrow")]
use odibi::node::report;

#[cfg(feature = "arrow")]
use odibi::node::types::TextSpan;
use odibi::node::types::{Failure, FailureKind, Retry};

struct Hostile;
export!(Hostile);

impl Planning for Hostile {
    fn describe() -> String {
        outside::touch();
        aim::manifest(operations().iter().map(|name| (*name).to_owned()).collect())
    }

    fn plan(operation: String, params: String, inputs: Vec<Vec<u8>>) -> Result<NodePlan, Failure> {
        if operation == aim::OPERATION {
            return aim::plan(&params, &inputs);
        }
        plan(&operation, &params, &inputs)
    }
}

impl Execution for Hostile {
    fn open(
        _: Context,
        operation: String,
        params: String,
        _: Vec<u8>,
        inputs: Vec<Vec<u8>>,
    ) -> Result<(), Failure> {
        if operation == aim::OPERATION {
            return aim::open(&params);
        }
        open(operation, &params, &inputs)
    }

    fn process(port: u32, batch: Vec<u8>) -> Result<Appetite, Failure> {
        process(port, batch)
    }

    fn drain(_: u32) -> Result<(), Failure> {
        aim::drain()?;
        drain();
        Ok(())
    }

    fn finish() -> Result<Option<String>, Failure> {
        aim::finish()?;
        finish()
    }
}

#[cfg(not(feature = "arrow"))]
mod other {
    //! Only `attack` is there.
    use super::*;

    pub fn operations() -> Vec<&'static str> {
        vec![]
    }

    pub fn plan(_: &str, _: &str, _: &[Vec<u8>]) -> Result<NodePlan, Failure> {
        Err(failure(FailureKind::Internal, "there is no such operation"))
    }

    pub fn open(_: String, _: &str, _: &[Vec<u8>]) -> Result<(), Failure> {
        Err(failure(FailureKind::Internal, "there is no such operation"))
    }

    pub fn process(_: u32, batch: Vec<u8>) -> Result<Appetite, Failure> {
        aim::process(&batch)
    }

    pub fn drain() {}

    pub fn finish() -> Result<Option<String>, Failure> {
        Ok(None)
    }
}
#[cfg(not(feature = "arrow"))]
use other::{drain, finish, open, operations, plan, process};

#[cfg(feature = "arrow")]
mod session;
#[cfg(feature = "arrow")]
use session::{State, drain, finish, open, operations, plan, process};

fn failure(kind: FailureKind, message: &str) -> Failure {
    Failure {
        kind,
        retry: Retry::Never,
        code: "hostile".into(),
        message: message.into(),
        param: None,
        span: None,
        at: None,
    }
}

fn send(parts: &[&[u8]], origin: Origin<'_>) -> Result<(), Failure> {
    emit(0, parts, origin).map_err(|refusal| {
        failure(
            FailureKind::Internal,
            &format!("emit was refused: {refusal:?}"),
        )
    })
}
