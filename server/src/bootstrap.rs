//! The first records of a new data directory, and sign-in links.
//!
//! It runs before the server: blocking, without the runtime. INVARIANT: a link's secret is returned
//! once and recorded as its SHA-256 only.

use hansard_engine::Engine;
use hansard_engine::draft::{Appended, Draft, Said};
use hansard_engine::error::Error;
use hansard_engine::format::payload::{
    Payload, PrincipalCreated, PrincipalKind, PrincipalSettings, Setting, TokenCreated,
};
use hansard_engine::format::record::{Actor, Door};
use hansard_engine::types::{PrincipalId, RoomId, TimeUs, TokenId};

use crate::auth::password;
use crate::config::PasswordCost;
use crate::limits::LINK_MINUTES;
use crate::secrets::{self, NoRandomness};

const MINUTE_US: i64 = 60_000_000;

/// A link that signs in once: `http://ADDR/#link=SECRET`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignInLink {
    /// Whom it signs in.
    pub principal: PrincipalId,
    /// What stands after `#link=`.
    pub secret: String,
    /// When it stops working.
    pub expires: TimeUs,
}

/// The first records could not be written.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// The administrator's name or password is not one that can be used.
    #[error("{0}")]
    Input(String),
    /// The engine refused.
    #[error(transparent)]
    Engine(#[from] Error),
    /// No random bytes.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
    /// The password could not be hashed.
    #[error(transparent)]
    Hash(#[from] password::HashError),
}

/// Writes the settings and the first administrator into a new directory. A password is hashed at
/// the cost beside it; without one it returns the link for his first sign-in.
///
/// # Errors
/// If the name or the password cannot be used, or the engine refuses.
pub fn initialise(
    engine: &Engine,
    admin_name: &str,
    password: Option<(&str, PasswordCost)>,
) -> Result<Option<SignInLink>, BootstrapError> {
    crate::http::validate::name("name", admin_name)
        .map_err(|problem| BootstrapError::Input(problem.detail.unwrap_or_default()))?;
    let hash = match password {
        Some((password, _)) if !password::acceptable(password) => {
            return Err(BootstrapError::Input("a password has 1 to 1024 bytes".into()));
        }
        Some((password, cost)) => Some(password::hash(password, cost)?),
        None => None,
    };
    let no_password = hash.is_none();
    let settings = PrincipalSettings {
        kind: PrincipalKind::User,
        name: admin_name.to_owned(),
        source: String::new(),
        password: hash,
        administrator: true,
        disabled: false,
    };
    let compliance = Setting { key: "compliance".into(), value: "on".into() };
    let appended = append(
        engine,
        vec![
            Payload::Setting(compliance),
            Payload::PrincipalCreated(PrincipalCreated { settings }),
        ],
    )?;
    let Some(admin) = appended.last().map(Appended::principal_id) else {
        return Err(BootstrapError::Input("the engine recorded nothing".into()));
    };
    if no_password { sign_in_link(engine, admin).map(Some) } else { Ok(None) }
}

/// Makes a link that signs `principal` in once, within 15 minutes.
///
/// # Errors
/// If the engine refuses.
pub fn sign_in_link(engine: &Engine, principal: PrincipalId) -> Result<SignInLink, BootstrapError> {
    let minted = secrets::mint()?;
    let expires = engine.now().saturating_add_us(LINK_MINUTES * MINUTE_US);
    let token = TokenCreated {
        principal,
        name: "sign-in link".into(),
        sha256: minted.sha256,
        expires,
        session: false,
        one_use: true,
    };
    append(engine, vec![Payload::TokenCreated(token)])?;
    Ok(SignInLink { principal, secret: minted.secret, expires })
}

fn append(engine: &Engine, payloads: Vec<Payload>) -> Result<Vec<Appended>, Error> {
    let actor = Actor {
        id: PrincipalId::SYSTEM,
        name: "system".into(),
        door: Door::System,
        address: String::new(),
        session: TokenId::NONE,
    };
    let checked_at = engine.directory().applied();
    let drafts = payloads
        .into_iter()
        .map(|payload| Draft {
            actor: actor.clone(),
            checked_at,
            room: RoomId::NONE,
            said: Said::Now,
            idempotency: None,
            expect: None,
            payload,
        })
        .collect();
    engine.append(drafts)?.wait()
}
