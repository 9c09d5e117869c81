//! The server as its clients meet it: a real listener, the real engine on a simulated disk.
//!
//! Every answer is checked against the OpenAPI document that the server itself gives out. The
//! suites that need a real disk and a real process stand with the binary.

mod amendments;
mod auth;
mod client;
mod heads;
mod history;
mod policy;
mod posting;
mod retention;
mod schema;
mod scrub;
mod stream;
mod world;
