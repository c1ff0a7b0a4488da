//! `odibi plugin compile`: components are compiled before they are needed, as when an image is built.

use serde_json::json;

use crate::args::{Config, Output};
use crate::printer::Printer;
use crate::{Surroundings, exit, project};

pub(crate) fn compile(config: &Config, around: &Surroundings, printer: &Printer) -> u8 {
    let sandbox = match project::sandbox_of(config, around, printer) {
        Ok(sandbox) => sandbox,
        Err(code) => return code,
    };
    let ready = match sandbox.load_all() {
        Ok(ready) => ready,
        Err(failure) => {
            printer.failure(&failure);
            return exit::NOT_STARTED;
        }
    };
    // Without a store, what was compiled is gone with this process.
    let store = project::store_dir(around);
    if !sandbox.has_store() {
        let message = format!("nothing is kept: `{}` cannot be used", store.display());
        printer.error_with_hint(
            &message,
            "set `ODIBI_CACHE_DIR` to a directory that belongs to the user who runs odibi",
        );
        return exit::NOT_STARTED;
    }
    match printer.output {
        Output::Json => printer.json(&json!({
            "directory": store.display().to_string(),
            "components": ready.iter().map(|one| json!({ "name": one.name, "version": one.version })).collect::<Vec<_>>(),
        })),
        Output::Text => {
            for one in &ready {
                let (name, version) = (&one.name, &one.version);
                printer.result(&format!("{name} {version} is ready\n"));
            }
        }
    }
    exit::DONE
}
