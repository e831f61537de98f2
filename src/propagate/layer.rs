//! The builder, which is the layer itself.

use std::sync::Arc;

use tower::Layer;

use super::policy::Policy;
use super::service::{Settings, TokenPropagation};
use crate::caller_scope::use_scopes;
use crate::error::ConfigError;
use crate::manifest::{Describe, Entry};
use crate::origin::{Origin, Transport};

/// Adds the caller's token to requests to the origins on a list.
///
/// Build it before the server starts: `JwtAuthLayer` keeps the caller of a request for its task
/// only in processes that have built this layer.
///
/// See the [module](crate::propagate) for how it decides.
#[derive(Clone, Debug)]
#[must_use]
pub struct TokenPropagationLayer {
    settings: Arc<Settings>,
    enabled: bool,
}

// === impl TokenPropagationLayer ===

impl TokenPropagationLayer {
    /// Forwards the caller's token, unchanged, to these origins only.
    ///
    /// An origin is `https://host` or `https://host:port`; `http` is accepted for loopback
    /// addresses only. Origins are compared exactly: there are no suffixes and no wildcards, and
    /// `host.` is not `host`.
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
    /// [`ConfigError::Url`] for a URL that is not an origin, or that would send tokens over a
    /// network in clear text.
    pub fn forward_to<O>(origins: O) -> Result<Self, ConfigError>
    where
        O: IntoIterator<Item: AsRef<str>>,
    {
        Self::new(origins, Transport::Encrypted)
    }

    /// As [`forward_to`](Self::forward_to), but accepts `http` for any host, for networks that
    /// encrypt the traffic, such as a service mesh. Without such a network, anyone who can read the
    /// traffic can act as every caller.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Url`] for a URL that is not an origin.
    pub fn dangerous_forward_to_http<O>(origins: O) -> Result<Self, ConfigError>
    where
        O: IntoIterator<Item: AsRef<str>>,
    {
        Self::new(origins, Transport::DangerousClear)
    }

    /// Names the one origin that the client inside sends all requests to, for clients that add the
    /// origin by themselves.
    ///
    /// A tonic `Channel` is such a client: the requests that reach this layer have only a path.
    /// Without this setting they carry no token. With it, a request whose URI names another origin
    /// carries none.
    ///
    /// ```
    /// use portcullis::TokenPropagationLayer;
    /// use tonic::transport::Channel;
    /// use tonic_health::pb::health_client::HealthClient;
    /// use tower::Layer;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), portcullis::ConfigError> {
    /// let origin = "https://orders.internal";
    /// let propagation = TokenPropagationLayer::forward_to([origin])?.for_origin(origin)?;
    /// let channel = Channel::from_static(origin).connect_lazy();
    /// let client = HealthClient::new(propagation.layer(channel));
    /// # drop(client);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`ConfigError::Url`] if the origin is not on the list.
    pub fn for_origin(mut self, origin: impl AsRef<str>) -> Result<Self, ConfigError> {
        let url = origin.as_ref();
        // Whether clear text is accepted was decided when the origins were listed.
        let origin = Origin::configured(url, Transport::DangerousClear)?;
        let mut policy = self.settings.policy.clone();
        if !policy.allowed.contains(&origin) {
            return Err(ConfigError::Url {
                url: url.to_owned(),
                problem: "add it to the origins that tokens are forwarded to",
            });
        }
        policy.implied = Some(origin);
        self.settings = Settings::new(policy);
        Ok(self)
    }

    /// Switches the layer on or off. If off, it adds nothing to any request.
    pub fn enabled(mut self, enabled: bool) -> Self {
        self.enabled = enabled;
        self
    }

    /// Builds a `reqwest` client that follows no redirects, and wraps it.
    ///
    /// reqwest follows redirects inside of itself, where no layer sees them. This client returns
    /// them, so that the next request is a new decision. If you wrap another client with
    /// [`layer`](Layer::layer), its redirect policy decides where the token is sent.
    ///
    /// The extensions of a `reqwest::Request` are private, so the caller is always that of the task
    /// ([`current_caller`](super::current_caller)).
    ///
    /// ```
    /// use portcullis::TokenPropagationLayer;
    ///
    /// # async fn orders() -> Result<(), Box<dyn std::error::Error>> {
    /// let propagation = TokenPropagationLayer::forward_to(["https://orders.internal"])?;
    /// let client = propagation.reqwest_client(reqwest::Client::builder())?;
    ///
    /// let request = client.get_ref().get("https://orders.internal/v1");
    /// let response = client.send(request).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The errors of [`reqwest::ClientBuilder::build`].
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
        O: IntoIterator<Item: AsRef<str>>,
    {
        let allowed = origins
            .into_iter()
            .map(|url| Origin::configured(url.as_ref(), transport))
            .collect::<Result<_, _>>()?;
        let implied = None;
        use_scopes();
        Ok(Self {
            settings: Settings::new(Policy { allowed, implied }),
            enabled: true,
        })
    }
}

impl Describe for TokenPropagationLayer {
    fn describe(&self, entry: &mut Entry) {
        if self.enabled {
            for origin in &self.settings.policy.allowed {
                entry.propagates("forward", format!("the token to {origin}"));
            }
        }
    }
}

impl<S> Layer<S> for TokenPropagationLayer {
    type Service = TokenPropagation<S>;

    fn layer(&self, inner: S) -> Self::Service {
        let settings = self.enabled.then(|| Arc::clone(&self.settings));
        TokenPropagation::new(settings, inner)
    }
}
