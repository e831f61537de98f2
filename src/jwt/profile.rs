//! Where well-known issuers put what the registered claims do not tell.

use super::claims::Places;

/// Whose tokens an issuer makes: where subject, client, roles, scopes and permissions stand, and how an access token is
/// told from the issuer's other tokens.
///
/// | profile | roles | scopes | permissions | client | audience | refuses |
/// |---|---|---|---|---|---|---|
/// | `Generic` | `roles` | `scope`, `scp` | `permissions` | `azp`, `client_id` | `aud` | |
/// | `Rfc9068` | `roles` | `scope` | `permissions` | `client_id` | `aud` | what is not `at+jwt`, or lacks `client_id`, `iat` or `jti` |
/// | `Keycloak` | `realm_access.roles` | `scope` | | `azp` | `aud` | what is not `"typ": "Bearer"`: ID and refresh tokens |
/// | `Auth0` | | `scope` | `permissions` | `azp`, `client_id` | `aud` | |
/// | `Entra` | `roles` | `scp` | | `azp`, `appid` | `aud` | |
/// | `Okta` | `groups` | `scp` | | `cid` | `aud` | |
/// | `Cognito` | `cognito:groups` | `scope` | | `client_id` | `client_id` | what is not `"token_use": "access"`: ID tokens |
/// | `Google` | | | | `azp` | `aud` | |
///
/// Setters of [`Issuer`](super::Issuer) that are called after [`profile`](super::Issuer::profile) change single places.
/// Keycloak's client roles are never mixed with its realm roles: give `.permissions_claim(["resource_access", CLIENT,
/// "roles"])` where those of one client count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Profile {
    /// No issuer in particular.
    #[default]
    Generic,
    /// The access token profile of RFC 9068, section 2.2, enforced.
    Rfc9068,
    /// Keycloak: realm roles.
    Keycloak,
    /// Auth0: permissions of its role-based access control. Roles need a claim of one's own there.
    Auth0,
    /// Microsoft Entra ID: app roles, and delegated permissions as scopes.
    ///
    /// The tokens of many organisations are those of [`Issuer::tenants`](super::Issuer::tenants) with the pattern
    /// `https://login.microsoftonline.com/{tenant}/v2.0`. Their keys are discovered, for each its own, or come for all from the
    /// [URL](crate::JwksSource::uri) `https://login.microsoftonline.com/common/discovery/v2.0/keys`, where a key that says whose it is
    /// serves that one alone.
    Entra,
    /// Okta custom authorization servers, with a `groups` claim.
    Okta,
    /// Amazon Cognito user pools: access tokens, which have no `aud`.
    Cognito,
    /// Google: ID tokens, the only signed ones that it makes.
    Google,
}

// === impl Profile ===

impl Profile {
    pub(super) fn places(self) -> Places {
        let names = |list: &[&str]| list.iter().map(|name| Box::from(*name)).collect();
        let mut places = Places::default();
        match self {
            Self::Generic => {}
            Self::Rfc9068 => {
                places.scopes = vec!["scope".into()];
                places.clients = names(&["client_id"]);
                places.required = names(&["client_id", "iat", "jti"]);
            }
            Self::Keycloak => {
                places.roles = Some(["realm_access", "roles"].into());
                places.scopes = vec!["scope".into()];
                places.permissions = None;
                places.clients = names(&["azp"]);
                places.equal = vec![("typ".into(), "Bearer".into())];
            }
            Self::Auth0 => {
                places.roles = None;
                places.scopes = vec!["scope".into()];
            }
            Self::Entra => {
                places.scopes = vec!["scp".into()];
                places.permissions = None;
                places.clients = names(&["azp", "appid"]);
            }
            Self::Okta => {
                places.roles = Some("groups".into());
                places.scopes = vec!["scp".into()];
                places.permissions = None;
                places.clients = names(&["cid"]);
            }
            Self::Cognito => {
                places.roles = Some("cognito:groups".into());
                places.scopes = vec!["scope".into()];
                places.permissions = None;
                places.clients = names(&["client_id"]);
                places.audience = "client_id".into();
                places.equal = vec![("token_use".into(), "access".into())];
            }
            Self::Google => {
                places.roles = None;
                places.scopes = Vec::new();
                places.permissions = None;
                places.clients = names(&["azp"]);
            }
        }
        places
    }

    /// The `typ` headers that are accepted.
    pub(super) const fn types(self) -> &'static [&'static str] {
        match self {
            Self::Rfc9068 => &["at+jwt"],
            _ => &["at+jwt", "JWT", ""],
        }
    }
}

#[cfg(test)]
mod tests;
