//! Who is asking: bearer tokens, the browser's cookie, and the caller they prove.
//!
//! A credential is looked up with every request, so a revoked one stops with the record that
//! revokes it. It decides no right; `access` does. INVARIANT: a request by cookie that changes
//! something carries `X-Hansard-Csrf: 1`, and a stream by cookie comes from our own origin.

pub(crate) mod cookie;
pub(crate) mod limiter;
pub(crate) mod password;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, header};
use hansard_engine::Directory;
use hansard_engine::catalog::rows::{PrincipalRow, TokenRow};
use hansard_engine::format::payload::PrincipalKind;
use hansard_engine::format::record::{Actor, Door};
use hansard_engine::types::Lsn;

use crate::problem::{Code, Problem};
use crate::secrets;
use crate::state::App;

/// How a credential arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// In the Authorization header, or in a stream's first frame.
    Bearer,
    /// In the browser's cookie.
    Cookie,
}

/// A signed-in principal and his credential.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Who.
    pub principal: Arc<PrincipalRow>,
    /// The token he showed.
    pub token: Arc<TokenRow>,
    /// Where he is.
    pub address: String,
    /// How the token came.
    pub via: Via,
    /// The position before these rows were read: what they allow is true of it.
    pub checked_at: Lsn,
}

impl Caller {
    /// Who goes into a record.
    #[must_use]
    pub fn actor(&self) -> Actor {
        self.actor_as(&self.principal, Door::Http)
    }

    /// The same with his row of now and the door he uses.
    #[must_use]
    pub fn actor_as(&self, principal: &PrincipalRow, door: Door) -> Actor {
        Actor {
            id: principal.id,
            name: principal.settings.name.clone(),
            door,
            address: self.address.clone(),
            session: self.token.id,
        }
    }

    /// True if the credential, as it was read, has not run out since: of what else became of it the
    /// log tells.
    pub(crate) fn lasts(&self, app: &App) -> bool {
        self.token.expires > app.engine.now()
    }

    /// Looks again whether the credential still works, and who its owner is now.
    pub(crate) fn renew(
        &self,
        app: &App,
        directory: &Directory,
    ) -> Result<Arc<PrincipalRow>, Problem> {
        owner_of(app, directory, &self.token.sha256).map(|(owner, _)| owner)
    }
}

/// The caller of a secret.
pub(crate) fn authenticate(
    app: &App,
    secret: &str,
    via: Via,
    address: String,
) -> Result<Caller, Problem> {
    let sha256 = secrets::digest_of(secret).ok_or_else(|| Problem::new(Code::Unauthenticated))?;
    let directory = app.directory();
    let checked_at = directory.applied();
    let (principal, token) = owner_of(app, &directory, &sha256)?;
    Ok(Caller { principal, token, address, via, checked_at })
}

/// The owner of a working token.
fn owner_of(
    app: &App,
    directory: &Directory,
    sha256: &[u8; 32],
) -> Result<(Arc<PrincipalRow>, Arc<TokenRow>), Problem> {
    let wrong = || Problem::new(Code::Unauthenticated);
    let token = directory.token(sha256)?.ok_or_else(wrong)?;
    if token.revoked || token.one_use || token.expires <= app.engine.now() {
        return Err(wrong());
    }
    let principal = directory.principal(token.principal)?.ok_or_else(wrong)?;
    if principal.settings.disabled || principal.settings.kind != PrincipalKind::User {
        return Err(wrong());
    }
    Ok((principal, token))
}

/// The bearer token of a request, if it has an Authorization header.
pub(crate) fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default();
    match text.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(Some(token.trim())),
        _ => Err(Problem::new(Code::Unauthenticated)),
    }
}

/// Where a connection comes from, as text: an extension of each of its requests.
#[derive(Clone)]
pub(crate) struct Peer(Arc<str>);

impl Peer {
    /// Of a connection.
    pub(crate) fn of(address: SocketAddr) -> Self {
        Self(address.ip().to_canonical().to_string().into())
    }
}

/// The client's address as text; empty where there is none (tests in memory).
pub(crate) fn address(parts: &Parts) -> String {
    parts.extensions.get::<Peer>().map(|peer| String::from(&*peer.0)).unwrap_or_default()
}

/// The caller of a request, by bearer or by cookie.
pub(crate) fn caller_of(app: &App, parts: &Parts) -> Result<Caller, Problem> {
    let address = address(parts);
    if let Some(secret) = bearer(&parts.headers)? {
        return authenticate(app, secret, Via::Bearer, address);
    }
    let secret = cookie::read(&parts.headers).ok_or_else(|| Problem::new(Code::Unauthenticated))?;
    let caller = authenticate(app, secret, Via::Cookie, address)?;
    let safe = matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS);
    if !safe && parts.headers.get(cookie::CSRF_HEADER).is_none_or(|value| value != "1") {
        return Err(Problem::new(Code::CsrfRequired));
    }
    Ok(caller)
}

impl FromRequestParts<App> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        caller_of(app, parts)
    }
}

/// The address a request came from.
pub(crate) struct ClientAddress(pub(crate) String);

impl FromRequestParts<App> for ClientAddress {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Self::Rejection> {
        Ok(Self(address(parts)))
    }
}
