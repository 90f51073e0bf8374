//! Content over HTTP: a client and a server of the OCI distribution protocol.
//!
//! - [`client`]: a registry as [`cairn_store::Repository`]: [`client::Remote`];
//! - [`server`]: any [`cairn_store::Store`] as a registry: [`server::Server`];
//! - [`wire`]: what both must say in the same words: routes, error codes, headers, conditions.
//!
//! ```text
//!   client ──▶ wire ◀── server
//! ```
//!
//! `client` and `server` never use each other. The protocol is OCI distribution 1.1.1; what Cairn adds to it, writes
//! to a tag under a condition, is in the README of this crate and in [`wire::condition`].

pub mod client;
pub mod server;
pub mod wire;
