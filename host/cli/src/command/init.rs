//! `odibi init`: a project that runs, to begin with.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::path::Path;

use odibi_story::failure::{Failure, FailureClass};
use serde_json::json;

use crate::args::{Init, Output, Template};
use crate::printer::Printer;
use crate::{Surroundings, exit};

/// The first line of a project file: editors find the schema by it.
const MODELINE: &str = "# yaml-language-server: $schema=./odibi.schema.json\n";

/// A file of a template: its path and text.
type Part = (&'static str, &'static str);

macro_rules! parts {
    ($template:literal: $($path:literal => $name:literal),+ $(,)?) => {
        &[$(($name, include_str!(concat!("../../templates/", $template, "/", $path)))),+]
    };
}

const QUICKSTART: &[Part] = parts!("quickstart":
    "odibi.yaml" => "odibi.yaml",
    "data/orders.csv" => "data/orders.csv",
);
const STAR_SCHEMA: &[Part] = parts!("star-schema":
    "odibi.yaml" => "odibi.yaml",
    "sql/fact_sales.sql" => "sql/fact_sales.sql",
    "data/customers.csv" => "data/customers.csv",
    "data/products.csv" => "data/products.csv",
    "data/sales.csv" => "data/sales.csv",
);
const AZURE: &[Part] = parts!("azure":
    "odibi.yaml" => "odibi.yaml",
    "env.example" => ".env.example",
    "data/landing/orders.csv" => "data/landing/orders.csv",
);
/// What every project has.
const GITIGNORE: Part = (".gitignore", ".odibi/\n.env\n");

pub(crate) fn init(init: &Init, around: &Surroundings, printer: &Printer) -> u8 {
    let directory = around.current_dir.join(&init.directory);
    let parts = match init.template {
        Template::Quickstart => QUICKSTART,
        Template::StarSchema => STAR_SCHEMA,
        Template::Azure => AZURE,
    };
    let schema = format!("{:#}\n", odibi_plan::config::schema());
    let mut files: Vec<(&str, String)> = vec![
        (GITIGNORE.0, GITIGNORE.1.to_owned()),
        ("odibi.schema.json", schema),
    ];
    for (name, text) in parts {
        let head = if *name == "odibi.yaml" { MODELINE } else { "" };
        files.push((name, format!("{head}{text}")));
    }
    // Nothing is written when something is in the way.
    let taken = files
        .iter()
        .find(|(name, _)| directory.join(name).symlink_metadata().is_ok());
    if let Some((name, _)) = taken {
        let path = directory.join(name);
        let failure = Failure::new(
            FailureClass::Denied,
            "cli/file-exists",
            format!("there is a file already: {}", path.display()),
        );
        printer.failure(&failure.hint("name an empty directory: `odibi init DIR`"));
        return exit::USAGE;
    }
    for (name, text) in &files {
        if let Err(error) = write(&directory.join(name), text) {
            let message = format!("cannot write {}", directory.join(name).display());
            let failure = Failure::new(FailureClass::Denied, "cli/cannot-write", message);
            printer.failure(&failure.cause(error.to_string()));
            return exit::NOT_STARTED;
        }
    }
    match printer.output {
        Output::Json => printer.json(&json!({
            "directory": directory.display().to_string(),
            "files": files.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
        })),
        Output::Text => {
            for (name, _) in &files {
                printer.result(&format!("wrote {name}\n"));
            }
            let place = if init.directory == Path::new(".") {
                String::new()
            } else {
                format!(" {}", init.directory.display())
            };
            printer.info(&format!("next: odibi validate{place} && odibi run{place}"));
        }
    }
    exit::DONE
}

fn write(path: &Path, text: &str) -> std::io::Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create_new(true).open(path)?;
    let written = file.write_all(text.as_bytes());
    if written
        .as_ref()
        .is_err_and(|error| error.kind() != ErrorKind::Interrupted)
    {
        let _ = std::fs::remove_file(path);
    }
    written
}
