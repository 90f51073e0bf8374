//! Whole-program tests: they run the binary `cairn` as its users do.
//!
//! One file, one subject; `harness` has what they share. `tests/peers/` tries Cairn with tools that others wrote.

#![expect(
    clippy::disallowed_methods,
    reason = "these tests are users of the program: they write its files, set its environment, and spoil its store"
)]
#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "all of it is tests, whose helpers clippy does not know as such"
)]

mod adopting;
mod answers;
#[path = "../crates/packages/tests/support/mod.rs"]
mod archive;
mod arrows;
mod bad_input;
mod by_hand;
mod catalogue;
mod channels;
mod cold_runners;
mod collecting;
mod copied_ledger;
mod crash;
mod determinism;
mod diff;
mod distant_base;
mod dockerfile;
mod docs;
mod doctor;
mod faults;
mod fetching;
mod forks;
mod governing;
mod harness;
mod json;
mod life;
mod links;
mod locks;
mod login;
mod matrix;
mod mirrors;
mod moving_tag;
mod night;
mod outputs;
mod package_inputs;
mod packages;
mod peers;
mod reading;
mod rebuild;
mod refusals;
mod retention;
mod scarcity;
mod second;
mod second_reader;
mod serving;
mod signing;
mod tampering;
mod together;
mod uploads;
mod workspace;
mod writers;
