//! What is looked at before a component is compiled: is it one, what does it import, what does it export.

use odibi_story::failure::{Failure, FailureClass};
use wasmparser::{Encoding, Parser, Payload};

use crate::contract;
use crate::host_api::report::clean;
use crate::host_api::wasi;

/// Our own interfaces that a guest may import.
const OWN: &[&str] = &[
    "odibi:node/types",
    "odibi:node/report",
    "odibi:node/output",
    "odibi:node/logical",
];

/// # Errors
/// `plugin/not-a-component`, `plugin/denied-import`, `plugin/interface-version`.
pub(crate) fn inspect(bytes: &[u8]) -> Result<(), Failure> {
    let names = names(bytes)?;
    for import in &names.imports {
        check_import(import)?;
    }
    for interface in [contract::PLANNING, contract::EXECUTION] {
        check_export(interface, &names.exports)?;
    }
    Ok(())
}

#[derive(Debug, Default)]
struct Names {
    imports: Vec<String>,
    exports: Vec<String>,
}

/// Imports and exports of the outermost component. Only names are read; wasmtime validates the rest.
fn names(bytes: &[u8]) -> Result<Names, Failure> {
    let mut names = Names::default();
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload.map_err(|e| not_a_component(&e.to_string()))?;
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "all other sections are left to wasmtime"
        )]
        match payload {
            Payload::Version { encoding, .. } => {
                if depth == 0 && encoding != Encoding::Component {
                    return Err(not_a_component("it is a core module"));
                }
                depth += 1;
            }
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 1 => {
                for import in section {
                    let import = import.map_err(|e| not_a_component(&e.to_string()))?;
                    names.imports.push(import.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) if depth == 1 => {
                for export in section {
                    let export = export.map_err(|e| not_a_component(&e.to_string()))?;
                    names.exports.push(export.name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    Ok(names)
}

fn not_a_component(why: &str) -> Failure {
    Failure::new(
        FailureClass::Contract,
        "plugin/not-a-component",
        "it is not a WebAssembly component",
    )
    .cause(clean(why, 300))
    .hint("build it for the target `wasm32-wasip2`")
}

fn check_import(name: &str) -> Result<(), Failure> {
    let (interface, version) = split(name);
    if OWN.contains(&interface) {
        return if version.is_some_and(|v| compatible(v, contract::VERSION)) {
            Ok(())
        } else {
            Err(other_version(name))
        };
    }
    let (major, minor) = wasi::TRACK;
    let served = wasi::INTERFACES.contains(&interface);
    if served && version.is_some_and(|v| (v.0, v.1) == (major, minor)) {
        return Ok(());
    }
    let name = clean(name, 200);
    let message = format!("it imports something that is not given to plugins: `{name}`");
    Err(
        Failure::new(FailureClass::Denied, "plugin/denied-import", message)
            .hint("find the dependency that pulls the import in, and leave it out"),
    )
}

fn check_export(interface: &str, exports: &[String]) -> Result<(), Failure> {
    let mut other = None;
    for export in exports {
        let (name, version) = split(export);
        if name != interface {
            continue;
        }
        if version.is_some_and(|v| compatible(v, contract::VERSION)) {
            return Ok(());
        }
        other = Some(export);
    }
    Err(other.map_or_else(
        || other_version(&format!("no {interface}")),
        |export| other_version(export),
    ))
}

/// Says both versions.
fn other_version(found: &str) -> Failure {
    let (major, minor, patch) = contract::VERSION;
    let found = clean(found, 200);
    let message = format!(
        "it was built against another version of the plugin interface: found `{found}`, \
         this odibi speaks `odibi:node@{major}.{minor}.{patch}`"
    );
    Failure::new(FailureClass::Contract, "plugin/interface-version", message)
        .hint("build the plugin again with the SDK of this odibi")
}

type Version = (u64, u64, u64);

fn split(name: &str) -> (&str, Option<Version>) {
    match name.split_once('@') {
        Some((interface, version)) => (interface, parse(version)),
        None => (name, None),
    }
}

/// Plain releases only: a pre-release promises nothing.
fn parse(version: &str) -> Option<Version> {
    let mut parts = version.split('.').map(|part| part.parse().ok());
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(Some(major)), Some(Some(minor)), Some(Some(patch)), None) => {
            Some((major, minor, patch))
        }
        _ => None,
    }
}

/// Below 1.0 the minor version must agree, above it the major; the guest may be older than the host.
fn compatible(guest: Version, host: Version) -> bool {
    if host.0 == 0 {
        (guest.0, guest.1) == (0, host.1)
    } else {
        guest.0 == host.0 && guest.1 <= host.1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn import(name: &str, expect: Result<(), &str>) {
        assert_eq!(
            check_import(name).map_err(|f| f.code),
            expect.map_err(str::to_owned),
            "{name}"
        );
    }

    #[test]
    fn imports_are_an_allow_list() {
        import("odibi:node/report@0.1.0", Ok(()));
        import("odibi:node/output@0.1.7", Ok(()));
        import("odibi:node/report@0.2.0", Err("plugin/interface-version"));
        import("odibi:node/report", Err("plugin/interface-version"));
        import("odibi:node/files@0.1.0", Err("plugin/denied-import"));
        import("wasi:io/streams@0.2.6", Ok(()));
        import("wasi:random/random@0.2.0", Ok(()));
        import("wasi:io/streams@0.3.0", Err("plugin/denied-import"));
        import("wasi:io/streams@0.2.0-rc", Err("plugin/denied-import"));
        import("wasi:filesystem/types@0.2.6", Err("plugin/denied-import"));
        import("wasi:sockets/tcp@0.2.6", Err("plugin/denied-import"));
        import(
            "wasi:http/outgoing-handler@0.2.6",
            Err("plugin/denied-import"),
        );
        import("wasi:cli/environment2@0.2.6", Err("plugin/denied-import"));
        import("print", Err("plugin/denied-import"));
    }

    #[test]
    fn a_foreign_version_is_named_beside_ours() {
        let exports = vec!["odibi:node/planning@0.9.0".to_owned()];
        let failure = check_export(contract::PLANNING, &exports).err();
        let message = failure.map(|f| f.message).unwrap_or_default();
        assert!(
            message.contains("0.9.0") && message.contains("odibi:node@0.1.0"),
            "{message}"
        );
    }

    #[test]
    fn versions_are_compared_as_semver() {
        assert!(compatible((0, 1, 3), (0, 1, 0)));
        assert!(!compatible((0, 2, 0), (0, 1, 0)));
        assert!(compatible((1, 0, 0), (1, 2, 0)));
        assert!(!compatible((1, 3, 0), (1, 2, 0)));
        assert_eq!(parse("1.2.3.4"), None);
    }

    #[track_caller]
    fn not_one(bytes: &[u8]) {
        assert_eq!(
            inspect(bytes).map_err(|f| f.code),
            Err("plugin/not-a-component".to_owned())
        );
    }

    #[test]
    fn bytes_that_are_no_component_are_named_so() {
        not_one(b"");
        not_one(b"hello, world");
        not_one(b"\0asm\x01\0\0\0");
    }

    #[test]
    fn an_empty_component_lacks_the_exports() {
        assert_eq!(
            inspect(b"\0asm\x0d\0\x01\0").map_err(|f| f.code),
            Err("plugin/interface-version".to_owned())
        );
    }
}
