//! Opening a stream: `/stream`, the WebSocket handshake and its credential.
//!
//! Bearer header, cookie of our own page, or a first frame; `session` does the rest. INVARIANT: a
//! wrong credential is refused before the upgrade.

use std::sync::Arc;

use axum::extract::State;
use axum::extract::ws::{WebSocketUpgrade, rejection::WebSocketUpgradeRejection};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};

use crate::auth::{ClientAddress, Via, authenticate, bearer, cookie};
use crate::limits::{STREAM_FRAME_BYTES_MAX, STREAM_WRITE_BYTES_MAX};
use crate::problem::{Code, Problem};
use crate::session;
use crate::state::App;

const READ_BUFFER_BYTES: usize = 4 * 1024;
const WRITE_BUFFER_BYTES: usize = 16 * 1024;

/// The live stream; its frames are the schemas `ClientFrame` and `ServerFrame`.
#[utoipa::path(
    get, path = "/api/v1/stream", tag = "stream",
    responses((status = 101, description = "The connection speaks WebSocket now.")),
)]
pub(crate) async fn open(
    State(app): State<App>,
    ClientAddress(address): ClientAddress,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let Ok(upgrade) = upgrade else {
        let mut response = Problem::new(Code::UpgradeRequired).into_response();
        response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        return Ok(response);
    };
    let caller = if let Some(secret) = bearer(&headers)? {
        Some(authenticate(&app, secret, Via::Bearer, address.clone())?)
    } else if let Some(secret) = cookie::read(&headers) {
        if !cookie::same_origin(&headers) {
            return Err(Problem::new(Code::OriginRefused));
        }
        Some(authenticate(&app, secret, Via::Cookie, address.clone())?)
    } else {
        None
    };
    let place = Arc::clone(&app.streams).try_acquire_owned();
    let place = place.map_err(|_| Problem::with(Code::Unavailable, "too many streams"))?;
    let upgrade = upgrade
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(WRITE_BUFFER_BYTES)
        .max_write_buffer_size(STREAM_WRITE_BYTES_MAX)
        .max_message_size(STREAM_FRAME_BYTES_MAX)
        .max_frame_size(STREAM_FRAME_BYTES_MAX);
    Ok(upgrade.on_upgrade(move |socket| async move {
        session::run(app, socket, caller, address).await;
        drop(place);
    }))
}
