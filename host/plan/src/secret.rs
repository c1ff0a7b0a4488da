//! Texts that nothing may show, and references to those that a vault keeps.
//!
//! | written | names |
//! |---|---|
//! | `keyvault:VAULT/SECRET[/VERSION]` | a secret of Azure Key Vault; `VAULT` is a name, or a host |
//! | `vault:MOUNT/PATH#FIELD` | a field of a secret of HashiCorp Vault |
//! | `aws-sm:NAME[#FIELD]` | a secret of AWS Secrets Manager, or a field of one that is JSON |

use std::collections::BTreeMap;
use std::fmt;

/// A text that nothing shows or stores: neither `Debug` nor `Display` say more than `***`, and it cannot be serialised.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Secret(String);

impl Secret {
    /// Keeps a text secret.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for who opens the connection.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A secret that a vault keeps, by its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum SecretRef {
    /// Azure Key Vault.
    KeyVault {
        /// Name of the vault, or its host.
        vault: String,
        /// Name of the secret.
        name: String,
        /// Its version (default: the newest).
        version: Option<String>,
    },
    /// HashiCorp Vault.
    HashiCorp {
        /// Where the engine is mounted.
        mount: String,
        /// Path below it.
        path: String,
        /// Which of its values.
        field: String,
    },
    /// AWS Secrets Manager.
    AwsSecretsManager {
        /// Name or ARN.
        name: String,
        /// Key of the JSON object that it is (default: all of it).
        field: Option<String>,
    },
}

/// What vaults said.
pub type Secrets = BTreeMap<SecretRef, Secret>;

/// What references to vaults begin with.
pub const PREFIXES: [&str; 3] = ["keyvault:", "vault:", "aws-sm:"];

impl SecretRef {
    /// Reads what stands between `${` and `}`; `None` when it is a reference of another kind.
    ///
    /// # Errors
    /// What is wrong with it, and how it is written.
    #[must_use]
    pub fn parse(text: &str) -> Option<Result<Self, (String, &'static str)>> {
        let (prefix, rest) = PREFIXES
            .iter()
            .find_map(|prefix| text.strip_prefix(prefix).map(|rest| (*prefix, rest)))?;
        Some(match prefix {
            "keyvault:" => key_vault(rest),
            "vault:" => hashicorp(rest),
            _ => aws(rest),
        })
    }

    /// A secret of Azure Key Vault.
    ///
    /// # Errors
    /// Which part is malformed.
    pub fn key_vault(vault: &str, name: &str, version: Option<&str>) -> Result<Self, String> {
        let dashed = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        let host = HOSTS.iter().find_map(|end| vault.strip_suffix(end));
        let bare = host.unwrap_or(vault);
        if !(3..=24).contains(&bare.len())
            || !dashed(bare)
            || !bare.starts_with(|c: char| c.is_ascii_alphabetic())
        {
            return Err(
                "the name of a key vault is made of 3 to 24 letters, digits and `-`, a letter first"
                    .to_owned(),
            );
        }
        if !(1..=127).contains(&name.len()) || !dashed(name) {
            return Err(
                "the name of a secret of a key vault is made of 1 to 127 letters, digits and `-`"
                    .to_owned(),
            );
        }
        if let Some(version) = version
            && (version.len() != 32 || !version.bytes().all(|b| b.is_ascii_hexdigit()))
        {
            return Err("the version of a secret is made of 32 hexadecimal digits".to_owned());
        }
        Ok(Self::KeyVault {
            vault: vault.to_ascii_lowercase(),
            name: name.to_owned(),
            version: version.map(str::to_owned),
        })
    }
}

/// Where key vaults are, in the clouds that there are.
const HOSTS: [&str; 3] = [
    ".vault.azure.net",
    ".vault.azure.cn",
    ".vault.usgovcloudapi.net",
];

type Read = Result<SecretRef, (String, &'static str)>;

fn key_vault(rest: &str) -> Read {
    const HINT: &str = "write `${keyvault:VAULT/SECRET}` or `${keyvault:VAULT/SECRET/VERSION}`";
    let parts: Vec<&str> = rest.split('/').collect();
    match parts[..] {
        [vault, name] => SecretRef::key_vault(vault, name, None),
        [vault, name, version] => SecretRef::key_vault(vault, name, Some(version)),
        _ => Err("a secret of a key vault has a vault and a name".to_owned()),
    }
    .map_err(|fault| (fault, HINT))
}

fn hashicorp(rest: &str) -> Read {
    const HINT: &str =
        "write `${vault:MOUNT/PATH#FIELD}`, for example `${vault:secret/prod/db#password}`";
    let fault = |what: &str| Err((what.to_owned(), HINT));
    let Some((place, field)) = rest.rsplit_once('#') else {
        return fault("a secret of Vault needs a field");
    };
    let Some((mount, path)) = place.split_once('/') else {
        return fault("a secret of Vault has a mount and a path");
    };
    let plain = |part: &str| {
        !part.is_empty()
            && part != "."
            && part != ".."
            && !part
                .chars()
                .any(|c| c.is_control() || c.is_whitespace() || "?#%\\".contains(c))
    };
    if !plain(mount) || !path.split('/').all(plain) {
        return fault(
            "a part of the path of a secret of Vault is empty, `..`, or holds blanks or one of `?#%\\`",
        );
    }
    if field.is_empty() || field.chars().any(char::is_control) {
        return fault("the field of a secret of Vault is empty");
    }
    Ok(SecretRef::HashiCorp {
        mount: mount.to_owned(),
        path: path.to_owned(),
        field: field.to_owned(),
    })
}

fn aws(rest: &str) -> Read {
    const HINT: &str = "write `${aws-sm:NAME}` or `${aws-sm:NAME#FIELD}`";
    let (name, field) = match rest.split_once('#') {
        Some((name, field)) => (name, Some(field)),
        None => (rest, None),
    };
    let may = |c: char| c.is_ascii_alphanumeric() || "/_+=.@:-".contains(c);
    if !(1..=2048).contains(&name.len()) || !name.chars().all(may) {
        let what =
            "the name of a secret of Secrets Manager is made of letters, digits and `/_+=.@-`";
        return Err((what.to_owned(), HINT));
    }
    if field.is_some_and(|field| field.is_empty() || field.chars().any(char::is_control)) {
        return Err(("the field is empty".to_owned(), HINT));
    }
    Ok(SecretRef::AwsSecretsManager {
        name: name.to_owned(),
        field: field.map(str::to_owned),
    })
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeyVault {
                vault,
                name,
                version,
            } => {
                write!(f, "keyvault:{vault}/{name}")?;
                version.as_ref().map_or(Ok(()), |v| write!(f, "/{v}"))
            }
            Self::HashiCorp { mount, path, field } => write!(f, "vault:{mount}/{path}#{field}"),
            Self::AwsSecretsManager { name, field } => {
                write!(f, "aws-sm:{name}")?;
                field.as_ref().map_or(Ok(()), |field| write!(f, "#{field}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_read_and_written() {
        let version = "0123456789abcdef0123456789abcdef";
        for text in [
            "keyvault:acme/db-password".to_owned(),
            format!("keyvault:acme.vault.azure.cn/x/{version}"),
            "vault:secret/prod/db#password".to_owned(),
            "vault:kv/a#b c".to_owned(),
            "aws-sm:prod/db".to_owned(),
            "aws-sm:arn:aws:secretsmanager:eu-west-1:123456789012:secret:a-b1#user.name".to_owned(),
        ] {
            let read = SecretRef::parse(&text).map(|read| read.map(|found| found.to_string()));
            assert_eq!(read, Some(Ok(text)));
        }
        assert_eq!(SecretRef::parse("NAME"), None);
        assert_eq!(SecretRef::parse("vaults:x"), None);
    }

    #[test]
    fn malformed_references_are_refused() {
        for text in [
            "keyvault:",
            "keyvault:acme",
            "keyvault:ac/x",
            "keyvault:1acme/x",
            "keyvault:acme/x_y",
            "keyvault:acme/x/1",
            "keyvault:acme/x/y/z",
            "keyvault:evil.example.com/x",
            "vault:secret/x",
            "vault:secret#x",
            "vault:secret/../sys#x",
            "vault:secret/a//b#x",
            "vault:secret/a?list=true#x",
            "vault:secret/a%2f#x",
            "vault:secret/a#",
            "aws-sm:",
            "aws-sm:a b",
            "aws-sm:a#",
        ] {
            let read = SecretRef::parse(text);
            assert!(matches!(read, Some(Err(_))), "{text}: {read:?}");
        }
    }
}
