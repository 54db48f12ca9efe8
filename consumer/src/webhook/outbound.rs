//! The HTTP clients that webhooks are sent with: they connect to nothing but what is permitted, whatever a name resolves to, and
//! follow nothing.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use common::address::{Networks, check_url};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder};

use tokio::sync::Semaphore;

use crate::config::Webhooks;

const CONNECT_SECONDS_MAX: u64 = 5;
/// Connections to an endpoint that are kept open for the next delivery.
const IDLE_MAX: usize = 8;

/// Names that are looked up at a time.
static LOOKUPS: Semaphore = Semaphore::const_new(64);

/// Why nothing was sent. Not told apart, so that nobody learns which names there are inside.
#[derive(Debug, thiserror::Error)]
#[error("this host is not known, or none of its addresses may be sent to")]
struct NotPermitted;

pub(crate) struct Outbound {
    encrypted: Client,
    /// To networks only that the operator allows.
    plain: Client,
    allowed: Networks,
}

impl Outbound {
    pub(crate) fn new(config: &Webhooks) -> reqwest::Result<Self> {
        let client = |encrypted| {
            let resolver = Arc::new(Resolver { allowed: config.networks.clone(), encrypted });
            Client::builder()
                .connect_timeout(Duration::from_secs(CONNECT_SECONDS_MAX).min(config.timeout))
                .timeout(config.timeout)
                .redirect(Policy::none())
                .no_proxy()
                .https_only(encrypted)
                .pool_max_idle_per_host(IDLE_MAX)
                .user_agent(concat!("Onhand/", env!("CARGO_PKG_VERSION")))
                .dns_resolver(resolver)
                .build()
        };
        Ok(Self { encrypted: client(true)?, plain: client(false)?, allowed: config.networks.clone() })
    }

    /// A POST to a URL, if it may be sent to: addresses in it are looked at here, names when they are resolved.
    pub(crate) fn post(&self, url: &str) -> Result<RequestBuilder, &'static str> {
        let url = check_url(url, &self.allowed)?;
        let client = if url.scheme() == "https" { &self.encrypted } else { &self.plain };
        Ok(client.post(url))
    }
}

/// Answers with permitted addresses only.
struct Resolver {
    allowed: Networks,
    encrypted: bool,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (allowed, encrypted) = (self.allowed.clone(), self.encrypted);
        Box::pin(async move {
            // A look-up that nobody answers occupies a thread, that others need.
            let _turn = LOOKUPS.acquire().await?;
            let found = tokio::net::lookup_host((name.as_str(), 0)).await.map_err(|_| NotPermitted)?;
            let permitted = |address: &IpAddr| allowed.permit(*address, encrypted);
            let found: Vec<SocketAddr> = found.filter(|address| permitted(&address.ip())).collect();
            if found.is_empty() {
                return Err(NotPermitted.into());
            }
            Ok::<Addrs, Box<dyn std::error::Error + Send + Sync>>(Box::new(found.into_iter()))
        })
    }
}
