//! The ledger as a whole, over repositories in memory.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail like the tests themselves"
)]

mod answers;
mod audits;
mod batch;
mod build_records;
mod bundle;
mod causal;
mod copy;
mod faults;
mod fixtures;
mod flow;
mod fold;
mod glass;
mod golden;
mod hostile;
mod late;
mod model;
mod prune;
mod races;
mod remembered;
mod schedules;
mod support;
mod tamper;
mod trust;
mod waiting;
