//! Hansard's server: the doors to the engine and the rules at them.
//!
//! HTTP, the WebSocket stream and the page stand here, with the one access policy that all of them
//! ask. The server knows no byte offset and writes no file; what it changes is a draft to the
//! engine. `PROTOCOL.md` is the contract with clients.

pub mod access;
pub mod auth;
mod bootstrap;
mod codec;
mod config;
mod cursor;
mod frames;
pub mod http;
mod hub;
pub mod limits;
mod metrics;
mod outbox;
pub mod problem;
mod secrets;
mod serve;
mod session;
mod state;
mod submit;
mod time;

pub use bootstrap::{BootstrapError, SignInLink, initialise, sign_in_link};
pub use config::{PasswordCost, ServerConfig};
pub use http::openapi::document as openapi_document;
pub use serve::{ServeError, bind, serve, serve_on};
