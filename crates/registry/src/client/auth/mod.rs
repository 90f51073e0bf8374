//! Who we are, and how a registry wants to be told.
//!
//! ```text
//!   Authorizer (one registry: what it asks for, tokens; each request is an attempt) ──▶ challenge, scope: what a 401 asks for
//!      │  └──▶ Credentials (a trait: files and helpers are the caller's)
//!      └──▶ token (the protocol of token servers) ──▶ realm: which token servers may be asked
//! ```
//!
//! A 401 that names a token server (`Bearer`) is answered with a token from there, one that wants a password (`Basic`)
//! with the password. Bearer goes first: a token is worth less than a password to whoever steals it.

mod attempt;
mod authorizer;
mod challenge;
mod credentials;
mod realm;
mod scope;
mod token;

pub use credentials::{Basic, Credential, Credentials, CredentialsError, Identity, NoCredentials, Secret};

pub(super) use attempt::{Sent, Standing};
pub(super) use authorizer::{AuthError, Authorizer, schemes};
pub(super) use scope::Access;
