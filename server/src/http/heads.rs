//! `/head`: the newest signed head, what to keep of it outside, and the keys it is signed with.
//!
//! What is signed, and how it is proved that a message is under it, is `hansard-tool`'s to check.
//! INVARIANT: nothing here shows a private key.

use axum::extract::State;
use hansard_engine::Engine;
use hansard_engine::notary::Head;
use serde::Serialize;
use utoipa::ToSchema;

use super::admin::NoFields;
use super::input::Json;
use crate::access::Access;
use crate::auth::Caller;
use crate::problem::Problem;
use crate::state::App;
use crate::time;

/// The newest signed head.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SignedHead {
    /// The signed note (C2SP): keep it outside of this machine. None before the first signature.
    note: Option<String>,
    /// The last place in the log that it covers.
    upto: Option<u64>,
    /// When it was signed.
    time: Option<String>,
    /// Every public key heads were signed with, the oldest first. The last is the one in use.
    keys: Vec<String>,
}

impl SignedHead {
    fn of(engine: &Engine, head: Option<Head>) -> hansard_engine::error::Result<Self> {
        let keys = engine.head_keys()?.iter().map(ToString::to_string).collect();
        let signed = head.as_ref().map(|head| &head.checkpoint);
        Ok(Self {
            upto: signed.map(|signed| signed.upto.0),
            time: signed.map(|signed| time::show(signed.time)),
            note: head.map(|head| head.note),
            keys,
        })
    }
}

/// The newest signed head. Administrators only.
#[utoipa::path(
    get, path = "/api/v1/head", tag = "proofs",
    responses((status = 200, body = SignedHead)),
)]
pub(crate) async fn show(
    State(app): State<App>,
    caller: Caller,
) -> Result<axum::Json<SignedHead>, Problem> {
    Access::begin(&app.directory(), &caller.principal).may_administer()?;
    Ok(axum::Json(SignedHead::of(&app.engine, app.engine.newest_head()?)?))
}

/// Sign all rooms' heads now, if anything happened since they were. Administrators only.
#[utoipa::path(
    post, path = "/api/v1/head", tag = "proofs", request_body = NoFields,
    responses((status = 200, body = SignedHead)),
)]
pub(crate) async fn sign(
    State(app): State<App>,
    caller: Caller,
    Json(NoFields {}): Json<NoFields>,
) -> Result<axum::Json<SignedHead>, Problem> {
    Access::begin(&app.directory(), &caller.principal).may_administer()?;
    let head = app.read(|engine| SignedHead::of(engine, engine.sign_heads()?)).await??;
    Ok(axum::Json(head))
}

/// Make a new key, endorsed by the one in use, and sign with it. Administrators only.
#[utoipa::path(
    post, path = "/api/v1/head/key", tag = "proofs", request_body = NoFields,
    responses((status = 200, body = SignedHead)),
)]
pub(crate) async fn rotate(
    State(app): State<App>,
    caller: Caller,
    Json(NoFields {}): Json<NoFields>,
) -> Result<axum::Json<SignedHead>, Problem> {
    Access::begin(&app.directory(), &caller.principal).may_administer()?;
    let rotated = |engine: &Engine| {
        engine.rotate_head_key()?;
        SignedHead::of(engine, engine.sign_heads()?)
    };
    Ok(axum::Json(app.read(rotated).await??))
}
