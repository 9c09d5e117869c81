//! The data directory as the commands that own one need it: made, opened, with somebody who can
//! sign in.
//!
//! The engine does the work and holds the lock. INVARIANT: a directory in which nobody could ever
//! sign in gets a new sign-in link whenever it is opened for serving, so nobody is locked out.

use std::io::{IsTerminal, Write, stderr};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use hansard_engine::catalog::rows::PrincipalRow;
use hansard_engine::format::payload::PrincipalKind;
use hansard_engine::types::{PrincipalId, TokenId};
use hansard_engine::{Engine, OpenReport, Options};
use hansard_server::{SignInLink, initialise, sign_in_link};

use crate::exits::Failure;
use crate::files::{self, Place};

/// The administrator that `serve` makes.
const ADMIN: &str = "admin";
/// Principals and tokens that are looked at for somebody who can sign in.
const LOOKED_AT: usize = 100;

/// Makes a directory if there is none, and opens it.
pub fn open_or_create(path: &Path, options: Options) -> Result<(Engine, OpenReport), Failure> {
    if files::look_at(path)? == Place::Free {
        files::make_parent(path)?;
        Engine::create(path)?;
    }
    Ok(Engine::open(path, options)?)
}

/// Whether the directory has no principal yet: new, or its making was cut off.
pub fn is_new(engine: &Engine) -> Result<bool, Failure> {
    Ok(engine.directory().principals(PrincipalId::NONE, 1)?.is_empty())
}

/// A sign-in link, if the directory is new or nobody could sign in without one.
pub fn first_link(engine: &Engine) -> Result<Option<SignInLink>, Failure> {
    if is_new(engine)? {
        return Ok(initialise(engine, ADMIN, None)?);
    }
    match first_administrator(engine)? {
        Some(admin) if !can_sign_in(engine, &admin)? => Ok(Some(sign_in_link(engine, admin.id)?)),
        _ => Ok(None),
    }
}

/// The first administrator: the one made with the directory, unless he was demoted.
pub fn first_administrator(engine: &Engine) -> Result<Option<PrincipalRow>, Failure> {
    let directory = engine.directory();
    let mut after = PrincipalId::NONE;
    loop {
        let rows = directory.principals(after, LOOKED_AT)?;
        let Some(last) = rows.last() else { return Ok(None) };
        after = last.id;
        let administers = |row: &PrincipalRow| {
            let settings = &row.settings;
            settings.kind == PrincipalKind::User && settings.administrator && !settings.disabled
        };
        if let Some(found) = rows.into_iter().find(administers) {
            return Ok(Some(found));
        }
    }
}

fn can_sign_in(engine: &Engine, who: &PrincipalRow) -> Result<bool, Failure> {
    if who.settings.password.is_some() {
        return Ok(true);
    }
    let (directory, now) = (engine.directory(), engine.now());
    let mut after = TokenId::NONE;
    loop {
        let tokens = directory.tokens_of(who.id, after, LOOKED_AT)?;
        let Some(last) = tokens.last() else { return Ok(false) };
        after = last.id;
        if tokens.iter().any(|token| !token.one_use && !token.revoked && token.expires > now) {
            return Ok(true);
        }
    }
}

/// Tells a link to whoever started the program: a terminal, else a file that only he can read.
pub fn tell_link(data: &Path, http: SocketAddr, link: &SignInLink) -> Result<(), Failure> {
    let url = url(http, link);
    if stderr().is_terminal() {
        files::remove_link(data)?;
        // A terminal that is gone cannot be told so.
        let _ = writeln!(stderr(), "\nSign in, once, within 15 minutes:\n\n    {url}\n");
        return Ok(());
    }
    let path = files::write_link(data, &url)?;
    tracing::info!(?path, "wrote a sign-in link, which works once and for 15 minutes");
    Ok(())
}

fn url(http: SocketAddr, link: &SignInLink) -> String {
    let reached = match http.ip() {
        // Listening everywhere includes here; where else, only the operator knows.
        ip if ip.is_unspecified() => SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), http.port()),
        _ => http,
    };
    format!("http://{reached}/#link={}", link.secret)
}

#[cfg(test)]
mod tests {
    use hansard_engine::types::TimeUs;

    use super::*;

    #[test]
    fn a_link_has_its_secret_behind_the_hash_and_an_address_that_can_be_reached() {
        let secret = "s3cret".to_owned();
        let link = SignInLink { principal: PrincipalId(9), secret, expires: TimeUs(0) };
        let of = |http: &str| url(http.parse().unwrap(), &link);
        assert_eq!(of("127.0.0.1:8010"), "http://127.0.0.1:8010/#link=s3cret");
        assert_eq!(of("0.0.0.0:80"), "http://127.0.0.1:80/#link=s3cret");
        assert_eq!(of("[::1]:80"), "http://[::1]:80/#link=s3cret");
    }
}
