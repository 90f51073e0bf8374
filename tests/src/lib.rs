//! Whole-program tests; the tests themselves are in `program.rs`.
