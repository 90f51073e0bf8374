//! Layers of others, compressed or not: every content that is shown has the size that its entry states, and a layer that
//! can be listed once can be listed again.

#![no_main]

use std::io::{self, Read};

use cairn_layer::{Limits, VisitError, describe, read_layer};
use libfuzzer_sys::fuzz_target;

/// Small, so that running into a limit is found quickly too.
const LIMITS: Limits = Limits {
    max_entries: 1000,
    max_uncompressed: 1 << 20,
    max_ratio: 200,
    ratio_allowance: 1 << 16,
    max_extension: 1 << 12,
    max_metadata: 1 << 16,
    max_window_log: 20,
};

fuzz_target!(|bytes: &[u8]| {
    let read = read_layer(bytes, &LIMITS, &mut |entry, content| -> Result<(), VisitError> {
        let length = io::copy(&mut content.take(LIMITS.max_uncompressed + 1), &mut io::sink())?;
        assert_eq!(length, entry.size);
        Ok(())
    });
    assert_eq!(read.is_ok(), describe(bytes, &LIMITS).is_ok());
});
