//! Tests of the crate from outside: layers written and read back, and files and archives that mean harm.
#![cfg(test)]

mod agreement;
mod archives;
mod breakouts;
mod compressed;
mod determinism;
mod golden;
mod hostile;
mod large;
mod local;
mod readers;
mod round_trip;
mod segments;
mod support;
mod tools;
mod unpack;
