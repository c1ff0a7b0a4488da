//! How vaults are reached: whose certificates are believed, and where hosts are.
//!
//! `ODIBI_CA_FILE` names a PEM file of certificate authorities that are believed besides those of the machine.
//! `ODIBI_RESOLVE=HOST=ADDRESS:PORT,…` says where hosts are, for networks whose names are not in the DNS.

use std::net::SocketAddr;
use std::time::Duration;

use odibi_story::failure::Failure;

use crate::Options;
use crate::answer::{chain, setting};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What both clients are built with.
#[derive(Clone)]
pub(crate) struct Network {
    authorities: Vec<Vec<u8>>,
    hosts: Vec<(String, SocketAddr)>,
    timeout: Duration,
}

impl Network {
    pub(crate) fn new(options: &Options) -> Result<Self, Failure> {
        let mut authorities = Vec::new();
        for name in ["ODIBI_CA_FILE", "VAULT_CACERT"] {
            let Some(path) = options.file(name) else {
                continue;
            };
            let pem = std::fs::read(&path).map_err(|error| {
                setting(format!(
                    "cannot read the file of `{name}`: {}",
                    path.display()
                ))
                .cause(error.to_string())
            })?;
            authorities.push(pem);
        }
        let mut hosts = Vec::new();
        let listed = options.get("ODIBI_RESOLVE").unwrap_or_default();
        for pair in listed.split(',').map(str::trim).filter(|p| !p.is_empty()) {
            let found = pair
                .split_once('=')
                .and_then(|(host, at)| Some((host.to_ascii_lowercase(), at.parse().ok()?)));
            hosts.push(found.ok_or_else(|| {
                setting(format!(
                    "`ODIBI_RESOLVE` is not made of HOST=ADDRESS:PORT: `{pair}`"
                ))
            })?);
        }
        Ok(Self {
            authorities,
            hosts,
            timeout: options.timeout,
        })
    }

    /// For the Azure SDK.
    pub(crate) fn azure(&self) -> Result<reqwest_azure::Client, Failure> {
        let mut builder = reqwest_azure::Client::builder()
            .redirect(reqwest_azure::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(self.timeout);
        let mut certificates = Vec::new();
        for pem in &self.authorities {
            certificates
                .extend(reqwest_azure::Certificate::from_pem_bundle(pem).map_err(|e| bad(&e))?);
        }
        if !certificates.is_empty() {
            builder = builder.tls_certs_merge(certificates);
        }
        for (host, at) in &self.hosts {
            builder = builder.resolve(host, *at);
        }
        builder.build().map_err(|e| bad(&e))
    }

    /// For everything of ours.
    pub(crate) fn client(&self) -> Result<reqwest::Client, Failure> {
        let mut builder = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(self.timeout);
        for pem in &self.authorities {
            for certificate in reqwest::Certificate::from_pem_bundle(pem).map_err(|e| bad(&e))? {
                builder = builder.add_root_certificate(certificate);
            }
        }
        for (host, at) in &self.hosts {
            builder = builder.resolve(host, *at);
        }
        builder.build().map_err(|e| bad(&e))
    }
}

fn bad(error: &dyn std::error::Error) -> Failure {
    setting("cannot make ready to speak TLS with vaults").cause(chain(error))
}
