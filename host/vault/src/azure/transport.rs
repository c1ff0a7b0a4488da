//! The connection of the Azure SDK: our own TLS settings, and a machine's identity service where a variable puts it.

use async_trait::async_trait;
use azure_core::http::{AsyncRawResponse, HttpClient, Request};
use odibi_story::failure::Failure;
use url::Url;

use crate::Options;
use crate::answer::setting;

/// Where the identity service of a machine is.
const MACHINE: &str = "169.254.169.254";

#[derive(Debug, Clone)]
pub(super) struct Sender {
    client: reqwest_azure::Client,
    /// Asked in place of [`MACHINE`].
    machine: Option<Url>,
}

impl Sender {
    /// `AZURE_POD_IDENTITY_AUTHORITY_HOST` says where the identity service is, as for other SDKs of Azure.
    pub(super) fn new(options: &Options, client: reqwest_azure::Client) -> Result<Self, Failure> {
        let machine = options
            .get("AZURE_POD_IDENTITY_AUTHORITY_HOST")
            .map(|text| Url::parse(&text).map_err(|e| e.to_string()))
            .transpose()
            .map_err(|why| setting("`AZURE_POD_IDENTITY_AUTHORITY_HOST` is no URL").cause(why))?;
        Ok(Self { client, machine })
    }

    /// Host and port of the identity service.
    pub(super) fn machine(&self) -> (String, u16) {
        let host = self
            .machine
            .as_ref()
            .and_then(Url::host_str)
            .unwrap_or(MACHINE);
        let port = self.machine.as_ref().and_then(Url::port_or_known_default);
        (host.to_owned(), port.unwrap_or(80))
    }
}

#[async_trait]
impl HttpClient for Sender {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let client: &dyn HttpClient = &self.client;
        match &self.machine {
            Some(machine) if request.url().host_str() == Some(MACHINE) => {
                let mut moved = request.clone();
                let url = moved.url_mut();
                // A URL with a host takes another host and port.
                let _ = url.set_host(machine.host_str());
                let _ = url.set_port(machine.port());
                client.execute_request(&moved).await
            }
            _ => client.execute_request(request).await,
        }
    }
}
