//! The ledger as a whole, over repositories in memory.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail like the tests themselves"
)]
#![expect(
    clippy::print_stdout,
    reason = "tests say how much they tried, and what to try again"
)]

mod answers;
mod audits;
mod batch;
mod build_records;
mod bundle;
mod causal;
mod checker;
mod copy;
mod covered;
mod faults;
mod fixtures;
mod flow;
mod fold;
mod glass;
mod golden;
mod hostile;
mod kept_packs;
mod late;
mod matrix;
mod meanwhile;
mod model;
mod prune;
mod races;
mod remembered;
mod schedules;
mod support;
mod tamper;
mod trust;
mod waiting;
