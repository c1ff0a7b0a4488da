//! `type: azure_adls` and `type: azure_blob`.
//!
//! ```yaml
//! connections:
//!   lake: {type: azure_adls, account_name: acme, container: raw, path_prefix: sales, auth: {mode: sas, sas_token: "${SAS}"}}
//! ```
//!
//! What opens it stands under `auth:` with a `mode`, or beside the other keys with an `auth_mode`, as in ODIBI. Without a
//! mode the keys that are there decide.

use super::super::Text;
use super::super::reader::{Reader, words};
use super::url::{self, Server};
use super::{bucket, filled, path_prefix, required, required_secret};
use crate::diagnostic::{Diagnostic, codes, quoted};
use crate::plan::{AzureAuth, AzureBlob, ConnectionKind, Secret};
use crate::secret::{PREFIXES, SecretRef};

/// Where the emulator Azurite listens, and the account that it knows. Its key is public.
const EMULATOR_ENDPOINT: &str = "http://127.0.0.1:10000/devstoreaccount1";
const EMULATOR_ACCOUNT: &str = "devstoreaccount1";
const EMULATOR_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// The account of a connection string that a vault keeps, until the vault was asked.
const UNKNOWN_ACCOUNT: &str = "unknown";

/// Keys that belong to some mode.
const AUTH_KEYS: [(&str, &str); 1] = [("client_key", "client_secret")];

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    AccountKey,
    Sas,
    ConnectionString,
    ServicePrincipal,
    ManagedIdentity,
    WorkloadIdentity,
    KeyVault,
}

const MODES: [(&str, Mode); 10] = [
    ("account_key", Mode::AccountKey),
    ("sas", Mode::Sas),
    ("connection_string", Mode::ConnectionString),
    ("service_principal", Mode::ServicePrincipal),
    ("managed_identity", Mode::ManagedIdentity),
    ("workload_identity", Mode::WorkloadIdentity),
    ("key_vault", Mode::KeyVault),
    ("direct_key", Mode::AccountKey),
    ("sas_token", Mode::Sas),
    ("aad_msi", Mode::ManagedIdentity),
];

/// The words of `mode`.
pub(in crate::config) fn modes() -> Vec<&'static str> {
    words(&MODES)
}

pub(super) fn read(mut reader: Reader<'_>) -> Option<ConnectionKind> {
    let emulator = reader.boolean("use_emulator", false);
    let account = reader.one_of(&["account_name", "account"]);
    let account = account.and_then(|entry| reader.as_text(entry));
    let container = bucket(&mut reader, &["container", "container_name"], 3..=63, "-$");
    let prefix = path_prefix(&mut reader);
    let server = url::endpoint(&mut reader);
    let auth = match reader.mapping("auth") {
        Some(mut under) => {
            let auth = auth(&mut under, "mode", emulator);
            under.finish_with(&AUTH_KEYS);
            auth
        }
        None => auth(&mut reader, "auth_mode", emulator),
    };
    let (context, subject, span) = (reader.context(), reader.subject().to_owned(), reader.span());
    let truncated = reader.truncated();
    reader.finish_with(&[
        ("prefix", "path_prefix"),
        ("file_system", "container"),
        ("key", "account_key"),
    ]);
    let (auth, from_text) = auth?;
    let Server { url, allow_http } = server?;
    let emulated = emulator || from_text.emulator;
    let account = account.map(|text| text.value).or(from_text.account);
    let account = account.or(emulated.then(|| EMULATOR_ACCOUNT.to_owned()));
    let endpoint = url.or(from_text.endpoint);
    let endpoint = endpoint.or(emulated.then(|| EMULATOR_ENDPOINT.to_owned()));
    let Some(account) = account else {
        if !truncated {
            let message = format!("{subject} lacks the key `account_name`");
            context.report(Diagnostic::error(&codes::MISSING_KEY, span, message));
        }
        return None;
    };
    let plain = account
        .chars()
        .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    if !plain || !(3..=24).contains(&account.len()) {
        let message = format!(
            "`account_name` of {subject} is not made of 3 to 24 lowercase letters and digits"
        );
        let made = Diagnostic::error(&codes::BAD_VALUE, span, message);
        context.report(made.hint("name the account alone, without `.blob.core.windows.net`"));
        return None;
    }
    Some(ConnectionKind::Azure(Box::new(AzureBlob {
        account,
        container: container?,
        path_prefix: prefix?,
        allow_http: allow_http
            || endpoint
                .as_ref()
                .is_some_and(|url| url.starts_with("http:")),
        endpoint,
        auth,
    })))
}

/// What a connection string says besides the key.
#[derive(Default)]
struct FromText {
    account: Option<String>,
    endpoint: Option<String>,
    emulator: bool,
}

fn auth(
    reader: &mut Reader<'_>,
    mode_key: &'static str,
    emulator: bool,
) -> Option<(AzureAuth, FromText)> {
    let mode = match reader.text(mode_key) {
        Some(word) => Some(reader.choice(&word, mode_key, &MODES, &[])?),
        None => None,
    };
    let mode = mode.or_else(|| {
        let keys = [
            ("key_vault_name", Mode::KeyVault),
            ("key_vault", Mode::KeyVault),
            ("connection_string", Mode::ConnectionString),
            ("sas_token", Mode::Sas),
            ("account_key", Mode::AccountKey),
            ("client_secret", Mode::ServicePrincipal),
        ];
        let given = keys.iter().find(|(key, _)| reader.optional(key).is_some());
        given.map(|(_, mode)| *mode)
    });
    let found = match mode {
        Some(Mode::AccountKey) => AzureAuth::AccountKey(required_secret(reader, "account_key")?),
        Some(Mode::Sas) => AzureAuth::Sas(required_secret(reader, "sas_token")?),
        Some(Mode::ConnectionString) => {
            let text = required(reader, "connection_string")?;
            if is_open(&text.value) {
                return Some(open());
            }
            return connection_string(reader, &text);
        }
        Some(Mode::KeyVault) => return key_vault(reader),
        Some(Mode::ServicePrincipal) => {
            let tenant_id = required(reader, "tenant_id");
            let client_id = required(reader, "client_id");
            let client_secret = required_secret(reader, "client_secret");
            AzureAuth::ServicePrincipal {
                tenant_id: tenant_id?.value,
                client_id: client_id?.value,
                client_secret: client_secret?,
            }
        }
        Some(Mode::WorkloadIdentity) => AzureAuth::WorkloadIdentity {
            tenant_id: filled(reader, "tenant_id").map(|text| text.value),
            client_id: filled(reader, "client_id").map(|text| text.value),
            token_file: filled(reader, "federated_token_file").map(|text| text.value),
        },
        None if emulator => AzureAuth::AccountKey(Secret::new(EMULATOR_KEY)),
        Some(Mode::ManagedIdentity) | None => AzureAuth::ManagedIdentity {
            client_id: filled(reader, "client_id").map(|text| text.value),
        },
    };
    Some((found, FromText::default()))
}

/// A reference to a vault that was not asked yet.
fn is_open(text: &str) -> bool {
    PREFIXES
        .iter()
        .any(|prefix| text.contains(&format!("${{{prefix}")))
}

/// What stands for it until then.
fn open() -> (AzureAuth, FromText) {
    let from = FromText {
        account: Some(UNKNOWN_ACCOUNT.to_owned()),
        ..FromText::default()
    };
    (AzureAuth::AccountKey(Secret::new("")), from)
}

/// `key_vault_name` and `secret_name`: the secret is the key of the account, or a shared access signature or connection
/// string, which are told by their form.
fn key_vault(reader: &mut Reader<'_>) -> Option<(AzureAuth, FromText)> {
    let named = |reader: &mut Reader<'_>, keys: &[&'static str]| {
        let entry = reader.required_one_of(keys)?;
        let text = reader.as_text(entry)?;
        reader.filled(Some(text), &entry.key)
    };
    let vault = named(reader, &["key_vault_name", "key_vault"]);
    let name = named(reader, &["secret_name", "secret"]);
    let (vault, name) = (vault?, name?);
    let reference = match SecretRef::key_vault(&vault.value, &name.value, None) {
        Ok(reference) => reference,
        Err(fault) => {
            let wrong = if SecretRef::key_vault(&vault.value, "x", None).is_err() {
                &vault
            } else {
                &name
            };
            let message = format!("{fault}: {}", quoted(wrong.shown()));
            let made = Diagnostic::error(&codes::BAD_VALUE, wrong.span, message);
            reader.context().report(made);
            return None;
        }
    };
    let Some(secret) = reader.context().secret(reference, name.span) else {
        return Some(open());
    };
    let text = secret.expose().trim();
    let within = |word: &str| text.contains(word);
    if within("AccountKey=") || within("SharedAccessSignature=") {
        let text = Text {
            value: text.to_owned(),
            span: name.span,
            written: Some(name.value),
        };
        return connection_string(reader, &text);
    }
    let found = if within("sig=") && within("&") {
        AzureAuth::Sas(Secret::new(text))
    } else {
        AzureAuth::AccountKey(Secret::new(text))
    };
    Some((found, FromText::default()))
}

/// `AccountName=…;AccountKey=…;…`, as the portal shows it.
fn connection_string(reader: &Reader<'_>, text: &Text) -> Option<(AzureAuth, FromText)> {
    let report = |what: &str| {
        let message = format!("`connection_string` of {} {what}", reader.subject());
        let made = Diagnostic::error(&codes::BAD_VALUE, text.span, message);
        reader
            .context()
            .report(made.hint("copy it whole from the page of the storage account"));
        None
    };
    let mut from = FromText::default();
    let (mut key, mut sas, mut suffix, mut scheme) = (None, None, None, "https");
    for part in text
        .value
        .split(';')
        .map(str::trim)
        .filter(|part| !part.is_empty())
    {
        // Keys and signatures end in `=`.
        let Some((name, value)) = part.split_once('=') else {
            return report("is not made of `NAME=VALUE` with `;` between");
        };
        match name.to_ascii_lowercase().as_str() {
            "accountname" => from.account = Some(value.to_owned()),
            "accountkey" => key = Some(Secret::new(value)),
            "sharedaccesssignature" => sas = Some(Secret::new(value)),
            "blobendpoint" => from.endpoint = Some(value.trim_end_matches('/').to_owned()),
            "endpointsuffix" => suffix = Some(value),
            "defaultendpointsprotocol" => scheme = value,
            "usedevelopmentstorage" => from.emulator = value.eq_ignore_ascii_case("true"),
            _ => {}
        }
    }
    if let (None, Some(account), Some(suffix)) = (&from.endpoint, &from.account, suffix)
        && suffix != "core.windows.net"
    {
        from.endpoint = Some(format!("{scheme}://{account}.blob.{suffix}"));
    }
    let auth = match (key, sas) {
        (Some(key), _) => AzureAuth::AccountKey(key),
        (None, Some(sas)) => AzureAuth::Sas(sas),
        (None, None) if from.emulator => AzureAuth::AccountKey(Secret::new(EMULATOR_KEY)),
        (None, None) => return report("holds neither `AccountKey` nor `SharedAccessSignature`"),
    };
    if let Some(url) = &from.endpoint {
        let given = Text {
            value: url.clone(),
            span: text.span,
            written: Some("BlobEndpoint".to_owned()),
        };
        url::checked(reader, &given, "connection_string", false)?;
    }
    Some((auth, from))
}

#[cfg(test)]
mod tests {
    use super::super::super::load;
    use super::*;
    use crate::diagnostic::Sources;

    /// The connection that the keys make, with its secrets written out, or its first fault.
    fn made(keys: &str) -> Result<(AzureBlob, Option<String>), String> {
        let text = format!(
            "project: x\nconnections: {{c: {{type: azure_adls, container: raw, {keys}}}}}\npipelines: \
             [{{pipeline: p, nodes: [{{name: n, read: {{connection: c, format: csv, path: a}}}}]}}]\n"
        );
        let (project, found) = load("t", &text, &|_| None, &mut Sources::default());
        match project.connections.first().and_then(|c| c.kind.clone()) {
            Some(ConnectionKind::Azure(azure)) => {
                let secret = match &azure.auth {
                    AzureAuth::AccountKey(s) | AzureAuth::Sas(s) => Some(s),
                    AzureAuth::ServicePrincipal { client_secret, .. } => Some(client_secret),
                    AzureAuth::ManagedIdentity { .. } | AzureAuth::WorkloadIdentity { .. } => None,
                };
                let secret = secret.map(|s| s.expose().to_owned());
                Ok((*azure, secret))
            }
            _ => Err(found.first().map(|d| d.message.clone()).unwrap_or_default()),
        }
    }

    #[track_caller]
    fn check(keys: &str, word: &str, secret: Option<&str>) {
        let (azure, found) = made(keys).unwrap_or_else(|fault| panic!("{keys}: {fault}"));
        assert!(format!("{:?}", azure.auth).starts_with(word), "{azure:?}");
        assert_eq!(found.as_deref(), secret, "{keys}");
    }

    #[test]
    fn every_spelling_finds_its_way_in() {
        check("account: acme, account_key: k==", "AccountKey", Some("k=="));
        check(
            "account_name: acme, auth_mode: direct_key, account_key: k",
            "AccountKey",
            Some("k"),
        );
        check(
            "account_name: acme, auth: {mode: account_key, account_key: k}",
            "AccountKey",
            Some("k"),
        );
        check(
            "account_name: acme, sas_token: '?sv=1&sig=x'",
            "Sas",
            Some("?sv=1&sig=x"),
        );
        check(
            "account_name: acme, auth: {mode: sas, sas_token: s}",
            "Sas",
            Some("s"),
        );
        check("account_name: acme, auth: {sas_token: s}", "Sas", Some("s"));
        let principal = "tenant_id: t, client_id: c, client_secret: s";
        check(
            &format!("account: acme, {principal}"),
            "ServicePrincipal",
            Some("s"),
        );
        check(
            &format!("account: acme, auth: {{mode: service_principal, {principal}}}"),
            "ServicePrincipal",
            Some("s"),
        );
        check("account: acme", "ManagedIdentity", None);
        check(
            "account: acme, auth: {mode: aad_msi, client_id: c}",
            "ManagedIdentity { client_id: Some",
            None,
        );
        check(
            "account: acme, auth_mode: workload_identity",
            "WorkloadIdentity",
            None,
        );
        check("use_emulator: true", "AccountKey", Some(EMULATOR_KEY));
        let string =
            "connection_string: 'AccountName=acme;AccountKey=k==;EndpointSuffix=core.windows.net'";
        check(string, "AccountKey", Some("k=="));
        check(
            "connection_string: UseDevelopmentStorage=true",
            "AccountKey",
            Some(EMULATOR_KEY),
        );
    }

    #[test]
    fn endpoints_come_from_where_they_are_given() {
        let endpoint = |keys: &str| made(keys).map(|(azure, _)| (azure.endpoint, azure.allow_http));
        assert_eq!(endpoint("account: acme"), Ok((None, false)));
        assert_eq!(
            endpoint("use_emulator: true"),
            Ok((Some(EMULATOR_ENDPOINT.to_owned()), true))
        );
        let china = "connection_string: 'AccountName=acme;AccountKey=k;EndpointSuffix=core.chinacloudapi.cn'";
        let url = "https://acme.blob.core.chinacloudapi.cn".to_owned();
        assert_eq!(endpoint(china), Ok((Some(url), false)));
    }
}
