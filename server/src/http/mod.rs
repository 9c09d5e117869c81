//! HTTP: the table of routes, and nothing else. Each resource has its own small file.
//!
//! The table is the router, the list of OpenAPI paths and what PROTOCOL.md describes: one source.
//! INVARIANT: a route that is not in the table does not exist.

mod admin;
mod amendments;
mod categories;
mod category_messages;
mod changes;
mod compliance;
mod data;
mod erasures;
mod events;
mod heads;
mod health;
mod holds;
mod imports;
mod input;
mod layers;
mod members;
mod messages;
pub mod openapi;
mod page;
mod rooms;
mod sessions;
mod stream;
mod tokens;
mod users;
pub(crate) mod validate;
pub mod view;
pub mod words;

use axum::Router;
use axum::routing;

use crate::problem::{Code, Problem};
use crate::state::App;

macro_rules! routes {
    ($( $method:ident $path:literal $module:ident :: $handler:ident ),* $(,)?) => {
        /// Method and path of every documented route.
        pub const ROUTES: &[(&str, &str)] = &[ $( (stringify!($method), $path) ),* ];

        fn documented() -> Router<App> {
            Router::new()$( .route($path, routing::$method($module::$handler)) )*
        }

        #[derive(utoipa::OpenApi)]
        #[openapi(paths($( $module::$handler ),*))]
        struct Paths;
    };
}

routes! {
    post   "/api/v1/sessions"                          sessions::create,
    delete "/api/v1/sessions/current"                  sessions::delete,
    get    "/api/v1/me"                                sessions::me,
    post   "/api/v1/tokens"                            tokens::create,
    get    "/api/v1/tokens"                            tokens::list,
    delete "/api/v1/tokens/{id}"                       tokens::delete,
    post   "/api/v1/users"                             users::create,
    get    "/api/v1/users"                             users::list,
    get    "/api/v1/users/{id}"                        users::get,
    patch  "/api/v1/users/{id}"                        users::patch,
    post   "/api/v1/categories"                        categories::create,
    get    "/api/v1/categories"                        categories::list,
    get    "/api/v1/categories/{id}"                   categories::get,
    patch  "/api/v1/categories/{id}"                   categories::patch,
    delete "/api/v1/categories/{id}"                   categories::delete,
    get    "/api/v1/categories/{id}/messages"          category_messages::list,
    post   "/api/v1/rooms"                             rooms::create,
    get    "/api/v1/rooms"                             rooms::list,
    get    "/api/v1/rooms/{id}"                        rooms::get,
    patch  "/api/v1/rooms/{id}"                        rooms::patch,
    delete "/api/v1/rooms/{id}"                        rooms::delete,
    get    "/api/v1/rooms/{id}/members"                members::list,
    put    "/api/v1/rooms/{id}/members/{principal}"    members::put,
    delete "/api/v1/rooms/{id}/members/{principal}"    members::delete,
    post   "/api/v1/rooms/{id}/messages"               messages::create,
    get    "/api/v1/rooms/{id}/messages"               messages::list,
    get    "/api/v1/rooms/{id}/messages/{message}"     messages::get,
    patch  "/api/v1/rooms/{id}/messages/{message}"     amendments::edit,
    delete "/api/v1/rooms/{id}/messages/{message}"     amendments::redact,
    get    "/api/v1/rooms/{id}/messages/{message}/versions" amendments::versions,
    get    "/api/v1/rooms/{id}/changes"                changes::list,
    post   "/api/v1/rooms/{id}/imports"                imports::create,
    get    "/api/v1/rooms/{id}/imports"                imports::get,
    get    "/api/v1/events"                            events::list,
    post   "/api/v1/admin/clock"                       admin::clock,
    post   "/api/v1/admin/checkpoint"                  admin::checkpoint,
    post   "/api/v1/rooms/{id}/erasures"               erasures::create,
    post   "/api/v1/holds"                             holds::create,
    get    "/api/v1/holds"                             holds::list,
    delete "/api/v1/holds/{id}"                        holds::delete,
    get    "/api/v1/compliance"                        compliance::show,
    patch  "/api/v1/compliance"                        compliance::change,
    get    "/api/v1/head"                              heads::show,
    post   "/api/v1/head"                              heads::sign,
    post   "/api/v1/head/key"                          heads::rotate,
    post   "/api/v1/admin/expire"                      admin::expire,
    get    "/api/v1/admin/scrub"                       admin::scrub,
    post   "/api/v1/admin/scrub"                       admin::scrub_now,
    get    "/api/v1/stream"                            stream::open,
    get    "/api/v1/openapi.json"                      openapi::serve,
    get    "/healthz"                                  health::live,
    get    "/readyz"                                   health::ready,
    get    "/metrics"                                  health::metrics,
}

/// Every route, with what surrounds it.
pub(crate) fn router(app: App) -> Router {
    documented()
        .route("/", routing::get(page::index))
        .route("/app.js", routing::get(page::script))
        .route("/app.css", routing::get(page::style))
        .route("/icon.svg", routing::get(page::icon))
        .fallback(async || Problem::not_found())
        .method_not_allowed_fallback(async || Problem::new(Code::MethodNotAllowed))
        .layer(layers::Around(app.clone()))
        .with_state(app)
}
