//! `odibi list limits`: what `limits:` may set.

use odibi_plan::guest_limits::{GuestLimit, Spec};
use serde_json::{Value, json};

use crate::args::Output;
use crate::exit;
use crate::printer::Printer;

pub(crate) fn list(printer: &Printer) -> u8 {
    match printer.output {
        Output::Json => printer.json(
            &GuestLimit::ALL
                .iter()
                .map(|l| document(&l.spec()))
                .collect(),
        ),
        Output::Text => {
            for limit in GuestLimit::ALL {
                let spec = limit.spec();
                let shown = |value: u64| spec.unit.written(value);
                let range = format!(
                    "{}..{}",
                    shown(*spec.range.start()),
                    shown(*spec.range.end())
                );
                printer.result(&format!(
                    "{:14}  {:>9}  {range:18}  {}\n",
                    spec.key,
                    shown(spec.default),
                    spec.doc
                ));
            }
        }
    }
    exit::DONE
}

/// Numbers are in the unit that stands beside them.
fn document(spec: &Spec) -> Value {
    json!({
        "name": spec.key,
        "unit": spec.unit.word(),
        "default": spec.default,
        "min": spec.range.start(),
        "max": spec.range.end(),
        "summary": spec.doc,
    })
}
