//! `limits` of the project, of a plugin and of a node: what the instances of plugins may use.
//!
//! ```yaml
//! limits: {memory: 512MiB, cpu: 1m}
//! ```

use super::reader::{Reader, ambiguous};
use crate::diagnostic::{Diagnostic, codes, quoted};
use crate::guest_limits::{GuestLimit, GuestLimits, Spec, Unit, Unreadable};
use crate::yaml::{Entry, Resolved, Scalar, Value};

/// Words that people write for a limit.
const OTHER_NAMES: &[(&str, &str)] = &[
    ("batch", "batch_output"),
    ("expanded", "gathered"),
    ("fuel", "cpu"),
    ("logs", "log_lines"),
    ("max_memory", "memory"),
    ("ram", "memory"),
    ("rows", "output_rows"),
    ("time", "wall"),
    ("timeout", "wall"),
];

pub(super) fn read(owner: &mut Reader<'_>) -> GuestLimits {
    let mut limits = GuestLimits::default();
    let Some(mut reader) = owner.mapping("limits") else {
        return limits;
    };
    for limit in GuestLimit::ALL {
        let spec = limit.spec();
        let Some(entry) = reader.optional(spec.key) else {
            continue;
        };
        if let Some(value) = value(&reader, entry, &spec) {
            limits.set(*limit, value);
        }
    }
    reader.finish_or(
        OTHER_NAMES,
        Some("run `odibi list limits` to see every limit"),
    );
    limits
}

fn value(reader: &Reader<'_>, entry: &Entry, spec: &Spec) -> Option<u64> {
    let subject = format!("{} of {}", quoted(spec.key), reader.subject());
    let (context, span) = (reader.context(), entry.value.span);
    let scalar = match &entry.value.value {
        Value::Scalar(scalar) if !matches!(scalar.resolve(), Resolved::Boolean(_)) => scalar,
        Value::Missing => return None,
        Value::Scalar(_) | Value::Sequence(_) | Value::Mapping(_) => {
            context.report(context.wrong_type(&entry.value, &subject, spec.unit.noun()));
            return None;
        }
    };
    ambiguous(context, scalar, span);
    let shown = quoted(scalar.shown());
    let fault = |why: String| Diagnostic::error(&codes::BAD_LIMIT, span, format!("{why}: {shown}"));
    let units = || {
        let suffixes: Vec<String> = spec.unit.suffixes().map(quoted).collect();
        suffixes.join(", ")
    };
    let made = match amount(scalar, spec.unit) {
        Ok(value) if spec.range.contains(&value) => return Some(value),
        Ok(_) | Err(Unreadable::OutOfRange) => {
            let shown = |value: &u64| spec.unit.shown(*value);
            let (least, most) = (shown(spec.range.start()), shown(spec.range.end()));
            fault(format!("{subject} must be between {least} and {most}"))
        }
        Err(Unreadable::NoUnit) => fault(format!("{subject} lacks a unit"))
            .hint(format!("put one of these behind the number: {}", units())),
        Err(Unreadable::OtherUnit | Unreadable::UnknownUnit) if spec.unit == Unit::Count => {
            fault(format!("{subject} is a whole number without a unit"))
        }
        Err(Unreadable::OtherUnit) => fault(format!(
            "{subject} is {}, and the unit measures something else",
            spec.unit.noun()
        ))
        .hint(format!("use one of: {}", units())),
        Err(Unreadable::UnknownUnit) => {
            fault(format!("{subject} has an unknown unit")).hint(format!("use one of: {}", units()))
        }
        Err(Unreadable::NotANumber) => fault(format!("{subject} is not {}", spec.unit.noun()))
            .hint(format!(
                "write for example {}",
                quoted(&spec.unit.written(spec.default))
            )),
    };
    context.report(made);
    None
}

/// Numbers are what YAML says they are; the rest is read as it is written.
fn amount(scalar: &Scalar, unit: Unit) -> Result<u64, Unreadable> {
    match scalar.resolve() {
        Resolved::Integer(value) => match u64::try_from(value) {
            Err(_) => Err(Unreadable::OutOfRange),
            Ok(0) => Ok(0),
            Ok(_) if unit == Unit::Milliseconds => Err(Unreadable::NoUnit),
            Ok(value) => Ok(value),
        },
        Resolved::Text | Resolved::Float(_) | Resolved::Boolean(_) | Resolved::Null => {
            unit.parse(&scalar.text)
        }
    }
}
