//! Running a plan: order, attempts, outcomes. Knows neither wasmtime nor DataFusion nor files; the ports are in [`port`].

pub mod dispatcher;
pub mod executor;
pub mod forecast;
pub mod memory;
pub mod port;
pub mod secrets;
pub mod shade;
pub mod testing;

pub use dispatcher::{PlaceOf, Settings, Summary, run};
pub use forecast::{Forecast, forecast};
pub use memory::MemoryBudget;
pub use port::{Cancel, Ports};
pub use shade::{Shaded, Shades, Shading};
