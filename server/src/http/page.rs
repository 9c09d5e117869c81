//! The page: embedded files, served with entity tags.
//!
//! No build step and no other origin: the content policy allows this server only. INVARIANT: the
//! page holds no data; everything in it comes from the API with the reader's own rights.

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::codec::base64url;
use crate::secrets::sha256;

/// The page itself.
pub(crate) async fn index(headers: HeaderMap) -> Response {
    file(&headers, "text/html; charset=utf-8", include_bytes!("../../web/index.html"))
}

/// Its script.
pub(crate) async fn script(headers: HeaderMap) -> Response {
    file(&headers, "text/javascript; charset=utf-8", include_bytes!("../../web/app.js"))
}

/// Its style.
pub(crate) async fn style(headers: HeaderMap) -> Response {
    file(&headers, "text/css; charset=utf-8", include_bytes!("../../web/app.css"))
}

/// Its mark.
pub(crate) async fn icon(headers: HeaderMap) -> Response {
    file(&headers, "image/svg+xml", include_bytes!("../../web/icon.svg"))
}

fn file(headers: &HeaderMap, kind: &'static str, bytes: &'static [u8]) -> Response {
    let tag = format!("\"{}\"", base64url(&sha256(bytes)[..12]));
    let common = [(header::ETAG, tag.clone()), (header::CACHE_CONTROL, "no-cache".into())];
    let known = headers.get(header::IF_NONE_MATCH).is_some_and(|value| value == tag.as_str());
    if known {
        return (StatusCode::NOT_MODIFIED, common).into_response();
    }
    (common, [(header::CONTENT_TYPE, kind)], bytes).into_response()
}
