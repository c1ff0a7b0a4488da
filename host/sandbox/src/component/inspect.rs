//! What is looked at before a component is compiled: is it one, what does it import, what does it export. Only names are
//! read, and none of its code runs.

use std::collections::BTreeSet;

use odibi_story::failure::{Failure, FailureClass};
use wasmparser::{Encoding, Parser, Payload};

use super::{ComponentSource, digest, named};
use crate::contract;
use crate::host_api::report::clean;
use crate::host_api::wasi;

/// What can be told of a component by looking at it.
#[derive(Debug, Clone)]
pub struct Inspection {
    /// SHA-256 of the component, hex.
    pub digest: String,
    /// Size of the component.
    pub bytes: u64,
    /// The interfaces of `odibi:node` that it exports, with their versions.
    pub exports: Vec<String>,
    /// What it imports, in its own order.
    pub imports: Vec<Import>,
    /// Why it would not be compiled, if so.
    pub refusal: Option<Failure>,
}

/// One import of a component: an upper bound of what it can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    /// Interface and version, fit to be printed.
    pub name: String,
    /// What a plugin gets for it.
    pub answer: Answer,
}

/// What a plugin gets for an import.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// odibi's own interface: columns in, columns out, a report.
    Own,
    /// A stand-in that reaches nothing; a project can grant the real thing where it is named.
    StandIn(Option<Reach>),
    /// odibi's own interface in a version that this odibi does not speak. The component is refused.
    OtherVersion,
    /// Nothing: the component is refused.
    Refused(Reach),
}

/// What an import would reach outside of the sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// Files.
    Files,
    /// The network.
    Network,
    /// Environment variables, arguments, the process.
    Environment,
    /// The time.
    Clock,
    /// Random numbers.
    Entropy,
    /// Something that odibi does not know.
    Unknown,
}

impl Reach {
    /// As a person says it, and for what can be granted, as the YAML does.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Files => "files",
            Self::Network => "network",
            Self::Environment => "environment",
            Self::Clock => "clock",
            Self::Entropy => "entropy",
            Self::Unknown => "something unknown to odibi",
        }
    }
}

impl Inspection {
    /// Looks at a component; nothing is compiled and nothing runs.
    ///
    /// # Errors
    /// `plugin/not-a-component`: then there is nothing to tell. Other faults are the [`Inspection::refusal`].
    pub fn of(source: &ComponentSource) -> Result<Self, Failure> {
        let bytes = source
            .bytes
            .clone()
            .plain()
            .map_err(|f| named(f, &source.name))?;
        let names = names(&bytes).map_err(|f| named(f, &source.name))?;
        let own = |export: &&String| export.starts_with("odibi:");
        Ok(Self {
            digest: digest(source),
            bytes: bytes.len() as u64,
            exports: names.exports.iter().filter(own).map(|e| shown(e)).collect(),
            imports: names.imports.iter().map(|i| import(i)).collect(),
            refusal: names.refusal().map(|f| named(f, &source.name)),
        })
    }

    /// What it asks for and no project can give: the reason to refuse it.
    #[must_use]
    pub fn reaches(&self) -> BTreeSet<Reach> {
        let reach = |import: &Import| match import.answer {
            Answer::Refused(reach) => Some(reach),
            Answer::Own | Answer::StandIn(_) | Answer::OtherVersion => None,
        };
        self.imports.iter().filter_map(reach).collect()
    }

    /// What it imports a stand-in for and a project can grant.
    #[must_use]
    pub fn grantable(&self) -> BTreeSet<Reach> {
        let reach = |import: &Import| match import.answer {
            Answer::StandIn(reach) => reach,
            Answer::Own | Answer::Refused(_) | Answer::OtherVersion => None,
        };
        self.imports.iter().filter_map(reach).collect()
    }
}

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
    names(bytes)?.refusal().map_or(Ok(()), Err)
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

impl Names {
    /// Why such a component is not compiled. What it asks for comes before what it lacks.
    fn refusal(&self) -> Option<Failure> {
        let imports = self.imports.iter().map(|import| check_import(import));
        let exports = [contract::PLANNING, contract::EXECUTION];
        let exports = exports.map(|interface| check_export(interface, &self.exports));
        imports.chain(exports).find_map(Result::err)
    }
}

/// A name that a component chose, fit to be printed.
fn shown(name: &str) -> String {
    clean(name, 200)
}

fn import(name: &str) -> Import {
    Import {
        name: shown(name),
        answer: answer(name),
    }
}

/// The allow-list.
fn answer(name: &str) -> Answer {
    let (interface, version) = split(name);
    if OWN.contains(&interface) {
        return if version.is_some_and(|v| compatible(v, contract::VERSION)) {
            Answer::Own
        } else {
            Answer::OtherVersion
        };
    }
    let reach = reach(interface);
    let served = wasi::INTERFACES.contains(&interface);
    if served && version.is_some_and(|v| (v.0, v.1) == wasi::TRACK) {
        let grantable = matches!(reach, Reach::Clock | Reach::Entropy);
        return Answer::StandIn(grantable.then_some(reach));
    }
    Answer::Refused(reach)
}

/// For people: whatever is not known by name is refused all the same.
fn reach(interface: &str) -> Reach {
    let package = interface.split('/').next().unwrap_or(interface);
    match package {
        "wasi:filesystem" | "wasi:blobstore" => Reach::Files,
        "wasi:sockets" | "wasi:http" | "wasi:tls" => Reach::Network,
        "wasi:cli" | "wasi:config" => Reach::Environment,
        "wasi:clocks" => Reach::Clock,
        "wasi:random" => Reach::Entropy,
        _ => Reach::Unknown,
    }
}

fn check_import(name: &str) -> Result<(), Failure> {
    match answer(name) {
        Answer::Own | Answer::StandIn(_) => return Ok(()),
        Answer::OtherVersion => return Err(other_version(name)),
        Answer::Refused(_) => {}
    }
    let name = shown(name);
    let message = format!("it imports something that is not given to plugins: `{name}`");
    Err(
        Failure::new(FailureClass::Denied, "plugin/denied-import", message)
            .hint("find the dependency that pulls the import in, and leave it out")
            .hint("see all that it imports with `odibi plugin inspect FILE`"),
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
    let found = shown(found);
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
        import("odibi:node/report@0.2.0", Ok(()));
        import("odibi:node/output@0.2.7", Ok(()));
        import("odibi:node/report@0.1.0", Err("plugin/interface-version"));
        import("odibi:node/report@0.3.0", Err("plugin/interface-version"));
        import("odibi:node/report", Err("plugin/interface-version"));
        import("odibi:node/files@0.2.0", Err("plugin/denied-import"));
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
    fn each_import_is_told_what_it_reaches() {
        use Reach::{Clock, Entropy, Environment, Files, Network, Unknown};
        let cases = [
            ("odibi:node/output@0.2.0", Answer::Own),
            ("odibi:node/output@0.9.0", Answer::OtherVersion),
            ("wasi:io/streams@0.2.3", Answer::StandIn(None)),
            ("wasi:cli/environment@0.2.3", Answer::StandIn(None)),
            ("wasi:clocks/wall-clock@0.2.3", Answer::StandIn(Some(Clock))),
            (
                "wasi:random/insecure-seed@0.2.3",
                Answer::StandIn(Some(Entropy)),
            ),
            ("wasi:clocks/wall-clock@0.3.0", Answer::Refused(Clock)),
            ("wasi:clocks/timezone@0.2.3", Answer::Refused(Clock)),
            ("wasi:random/random", Answer::Refused(Entropy)),
            ("wasi:cli/environment@0.3.0", Answer::Refused(Environment)),
            ("wasi:filesystem/types@0.2.3", Answer::Refused(Files)),
            ("wasi:filesystem/preopens@0.2.3", Answer::Refused(Files)),
            ("wasi:sockets/tcp@0.2.3", Answer::Refused(Network)),
            ("wasi:http/outgoing-handler@0.2.3", Answer::Refused(Network)),
            ("odibi:node/files@0.2.0", Answer::Refused(Unknown)),
            ("url=<https://a.example>", Answer::Refused(Unknown)),
            ("", Answer::Refused(Unknown)),
        ];
        for (name, expect) in cases {
            assert_eq!(answer(name), expect, "{name}");
        }
    }

    #[test]
    fn a_name_cannot_paint_the_terminal() {
        let made = super::import("wasi:\u{1b}[2Jsneaky/\u{202e}x\r\n");
        assert!(!made.name.contains(['\u{1b}', '\u{202e}', '\r', '\n']));
    }

    #[test]
    fn a_foreign_version_is_named_beside_ours() {
        let exports = vec!["odibi:node/planning@0.9.0".to_owned()];
        let failure = check_export(contract::PLANNING, &exports).err();
        let message = failure.map(|f| f.message).unwrap_or_default();
        assert!(
            message.contains("0.9.0") && message.contains("odibi:node@0.2.0"),
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
