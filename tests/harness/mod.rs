//! What the tests share: a place of their own, the program, a server, other tools.

#![allow(
    dead_code,
    unused_imports,
    reason = "each subject uses its part of the harness"
)]

mod binary;
mod golden;
mod guard;
mod hand;
mod hosted;
mod link;
mod normalise;
mod output;
mod process;
mod project;
mod proxy;
mod random;
mod sandbox;
mod server;
mod ssh_agent;
mod tools;
mod tree;
mod tunnel;
mod web;

pub(crate) use binary::{binary, workspace};
pub(crate) use golden::golden;
pub(crate) use guard::{Guard, PASSWORD, USER};
pub(crate) use hand::{tag_by_hand, untag_by_hand};
pub(crate) use hosted::Hosted;
pub(crate) use link::{Link, Weather};
pub(crate) use normalise::Normaliser;
pub(crate) use output::Output;
pub(crate) use process::{LIMIT, run, run_with, spawn, wait};
pub(crate) use project::{APP, Project};
pub(crate) use proxy::{Cut, Exchange, Interrupted, Proxy};
pub(crate) use random::Random;
pub(crate) use sandbox::Sandbox;
pub(crate) use server::Server;
pub(crate) use ssh_agent::SshAgent;
pub(crate) use tools::{skip, tool};
pub(crate) use tree::Tree;
pub(crate) use tunnel::Tunnel;
pub(crate) use web::{Page, Web};
