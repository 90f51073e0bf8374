//! Tests of the store from outside, in one binary.

#![expect(
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "helpers of tests fail and report like tests"
)]

mod archives;
mod attacks;
mod collect;
mod conformance;
mod content;
mod faults;
mod files;
mod kill;
mod layout;
mod mirrors;
mod pages;
mod power;
mod projection;
mod readers;
mod uploads;
mod writers;
