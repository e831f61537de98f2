use std::sync::Arc;

use tower::Layer;

use super::policy::Policy;
use super::service::TokenPropagation;
use crate::error::ConfigError;
use crate::manifest::{Describe, Entry};
use crate::origin::{Origin, Transport};

/// Puts the caller's token on requests that leave for an origin on a list.
///
/// See the [module](crate::propagate) for how it decides.
#[derive(Clone, Debug)]
#[must_use]
pub struct TokenPropagationLayer {
    policy: Policy,
    enabled: bool,
}

// === impl TokenPropagationLayer ===

impl TokenPropagationLayer {
    /// Forwards the caller's token, unchanged, to these origins and to no other.
    ///
    /// An origin is `https://host` or `https://host:port`; `http` is taken for loopback alone. Origins are compared
    /// exactly: no suffixes, no wildcards, and `host.` is not `host`.
    ///
    /// ```
    /// use portcullis::TokenPropagationLayer;
    ///
    /// let layer = TokenPropagationLayer::forward_to(["https://orders.internal"]);
    /// assert!(layer.is_ok());
    /// let layer = TokenPropagationLayer::forward_to(["http://orders.internal"]);
    /// assert!(layer.unwrap_err().to_string().contains("https"));
    /// ```
    ///
    /// # Errors
    ///
    /// [`ConfigError::Url`] for what is not an origin or would send tokens in clear over a network.
    pub fn forward_to<O>(origins: O) -> Result<Self, ConfigError>
    where
        O: IntoIterator,
        O::Item: AsRef<str>,
    {
        Self::new(origins, Transport::Encrypted)
    }

    /// Like [`forward_to`](Self::forward_to), and takes `http` for any host: for networks that encrypt below, such as
    /// a service mesh. Without one, whoever sees the traffic can act as every caller.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Url`] for what is not an origin.
    pub fn dangerous_forward_to_http<O>(origins: O) -> Result<Self, ConfigError>
    where
        O: IntoIterator,
        O::Item: AsRef<str>,
    {
        Self::new(origins, Transport::DangerousClear)
    }

    /// Names the one origin that the client below sends everything to, for a client that adds it by itself.
    ///
    /// A tonic `Channel` is one: the requests that reach this layer have a path only. Without this setting such
    /// requests get no token; with it, a request whose URI names another origin gets none.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Url`] when the origin is not on the list.
    pub fn for_origin(mut self, origin: impl AsRef<str>) -> Result<Self, ConfigError> {
        let url = origin.as_ref();
        // Which of the origins may be in clear was settled when they were listed.
        let origin = Origin::configured(url, Transport::DangerousClear)?;
        if !self.policy.allowed.contains(&origin) {
            return Err(ConfigError::Url {
                url: url.to_owned(),
                problem: "list it among the origins that tokens are forwarded to",
            });
        }
        self.policy.implied = Some(origin);
        Ok(self)
    }

    /// Switches the layer on or off. Off, it adds nothing to any request.
    pub fn enabled(mut self, enabled: bool) -> Self {
        self.enabled = enabled;
        self
    }

    /// Builds a `reqwest` client that follows no redirects, and wraps it.
    ///
    /// reqwest follows redirects inside itself, where no layer sees them; this client hands them back, so that each
    /// next request is decided anew. A client that was built elsewhere can be wrapped with
    /// [`layer`](Layer::layer), and then its own redirect policy has the last word on where the token goes.
    ///
    /// The extensions of a `reqwest::Request` are private, so the caller comes from the task alone
    /// ([`with_caller`](super::with_caller)).
    ///
    /// ```
    /// use portcullis::TokenPropagationLayer;
    /// use tower::{Service, ServiceExt};
    ///
    /// # async fn orders() -> Result<(), Box<dyn std::error::Error>> {
    /// let propagation = TokenPropagationLayer::forward_to(["https://orders.internal"])?;
    /// let mut client = propagation.reqwest_client(reqwest::Client::builder())?;
    ///
    /// let request = reqwest::Client::new().get("https://orders.internal/v1").build()?;
    /// let response = client.ready().await?.call(request).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`reqwest::ClientBuilder::build`].
    #[cfg(feature = "reqwest-client")]
    #[cfg_attr(docsrs, doc(cfg(feature = "reqwest-client")))]
    pub fn reqwest_client(
        &self,
        builder: reqwest::ClientBuilder,
    ) -> reqwest::Result<TokenPropagation<reqwest::Client>> {
        let client = builder
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(self.layer(client))
    }

    fn new<O>(origins: O, transport: Transport) -> Result<Self, ConfigError>
    where
        O: IntoIterator,
        O::Item: AsRef<str>,
    {
        let allowed = origins
            .into_iter()
            .map(|url| Origin::configured(url.as_ref(), transport))
            .collect::<Result<_, _>>()?;
        let policy = Policy {
            allowed,
            implied: None,
        };
        Ok(Self {
            policy,
            enabled: true,
        })
    }
}

impl Describe for TokenPropagationLayer {
    fn describe(&self, entry: &mut Entry) {
        if self.enabled {
            for origin in &self.policy.allowed {
                entry.propagates("forward", format!("the token to {origin}"));
            }
        }
    }
}

impl<S> Layer<S> for TokenPropagationLayer {
    type Service = TokenPropagation<S>;

    fn layer(&self, inner: S) -> Self::Service {
        let policy = self.enabled.then(|| Arc::new(self.policy.clone()));
        TokenPropagation::new(policy, inner)
    }
}
