//! The claims that well-known products use.

use super::claims::ClaimMapping;
use crate::words::words;

/// The product that issues the tokens: which claims contain the client, roles, scopes and
/// permissions, and how access tokens differ from its other tokens.
///
/// | profile | roles | scopes | permissions | client | audience | rejects |
/// |---|---|---|---|---|---|---|
/// | `Generic` | `roles` | `scope`, `scp` | `permissions` | `azp`, `client_id` | `aud` | |
/// | `Rfc9068` | `roles` | `scope` | `permissions` | `client_id` | `aud` | tokens other than `at+jwt`, or without `client_id`, `iat` or `jti` |
/// | `Keycloak` | `realm_access.roles` | `scope` | | `azp` | `aud` | tokens without `"typ": "Bearer"`: ID and refresh tokens |
/// | `Auth0` | | `scope` | `permissions` | `azp`, `client_id` | `aud` | |
/// | `Entra` | `roles` | `scp` | | `azp`, `appid` | `aud` | |
/// | `Okta` | `groups` | `scp` | | `cid` | `aud` | |
/// | `Cognito` | `cognito:groups` | `scope` | | `client_id` | `client_id` | tokens without `"token_use": "access"`: ID tokens |
/// | `Google` | | | | `azp` | `aud` | |
///
/// Setters of [`Issuer`](super::Issuer) that are called after [`profile`](super::Issuer::profile)
/// change single claims. Keycloak's client roles are not mixed with its realm roles. To use the
/// roles of one client as permissions, call
/// `.permissions_claim(["resource_access", CLIENT, "roles"])`.
///
/// ```
/// use portcullis::{Issuer, Profile};
///
/// let issuer = Issuer::discover("https://sso.example.com/realms/main")?
///     .profile(Profile::Keycloak)
///     .audience("orders-api");
/// assert_eq!("keycloak".parse::<Profile>()?, Profile::Keycloak);
/// # Ok::<(), portcullis::ConfigError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Profile {
    /// No particular product.
    #[default]
    Generic,
    /// The access token profile of RFC 9068, section 2.2, enforced.
    Rfc9068,
    /// Keycloak: realm roles.
    Keycloak,
    /// Auth0: permissions of its role-based access control. For roles, Auth0 needs a custom claim.
    Auth0,
    /// Microsoft Entra ID: app roles, and delegated permissions as scopes.
    ///
    /// For the tokens of many organizations use [`Issuer::tenants`](super::Issuer::tenants) with
    /// the pattern `https://login.microsoftonline.com/{tenant}/v2.0`. The keys are discovered per
    /// tenant, or come from the [URL](crate::JwksSource::uri)
    /// `https://login.microsoftonline.com/common/discovery/v2.0/keys` for all of them. A key there
    /// that names its issuer verifies the tokens of that issuer only.
    Entra,
    /// Okta custom authorization servers, with a `groups` claim.
    Okta,
    /// Amazon Cognito user pools: access tokens, which have no `aud`.
    Cognito,
    /// Google: ID tokens, its only signed tokens.
    Google,
}

words! {
    Profile: "profile" {
        Generic => "generic",
        Rfc9068 => "rfc9068",
        Keycloak => "keycloak",
        Auth0 => "auth0",
        Entra => "entra",
        Okta => "okta",
        Cognito => "cognito",
        Google => "google",
    }
}

// === impl Profile ===

impl Profile {
    pub(super) fn mapping(self) -> ClaimMapping {
        let names = |list: &[&str]| list.iter().map(|name| Box::from(*name)).collect();
        let mut mapping = ClaimMapping::default();
        match self {
            Self::Generic => {}
            Self::Rfc9068 => {
                mapping.scopes = vec!["scope".into()];
                mapping.clients = names(&["client_id"]);
                mapping.required = names(&["client_id", "iat", "jti"]);
            }
            Self::Keycloak => {
                mapping.roles = Some(["realm_access", "roles"].into());
                mapping.scopes = vec!["scope".into()];
                mapping.permissions = None;
                mapping.clients = names(&["azp"]);
                mapping.equal = vec![("typ".into(), "Bearer".into())];
            }
            Self::Auth0 => {
                mapping.roles = None;
                mapping.scopes = vec!["scope".into()];
            }
            Self::Entra => {
                mapping.scopes = vec!["scp".into()];
                mapping.permissions = None;
                mapping.clients = names(&["azp", "appid"]);
            }
            Self::Okta => {
                mapping.roles = Some("groups".into());
                mapping.scopes = vec!["scp".into()];
                mapping.permissions = None;
                mapping.clients = names(&["cid"]);
            }
            Self::Cognito => {
                mapping.roles = Some("cognito:groups".into());
                mapping.scopes = vec!["scope".into()];
                mapping.permissions = None;
                mapping.clients = names(&["client_id"]);
                mapping.audience = "client_id".into();
                mapping.equal = vec![("token_use".into(), "access".into())];
            }
            Self::Google => {
                mapping.roles = None;
                mapping.scopes = Vec::new();
                mapping.permissions = None;
                mapping.clients = names(&["azp"]);
            }
        }
        mapping
    }

    /// The accepted `typ` headers.
    pub(super) const fn types(self) -> &'static [&'static str] {
        match self {
            Self::Rfc9068 => &["at+jwt"],
            _ => &["at+jwt", "JWT", ""],
        }
    }
}

#[cfg(test)]
mod tests;
