//! Manifests and indexes of a registry, under each media type they come with.

#![no_main]

use cairn_oci::{Document, MediaType, media_type};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for name in [media_type::MANIFEST, media_type::INDEX] {
        // Whatever it is, reading it ends, without a panic.
        let _ = Document::parse(&MediaType::from(name), bytes);
    }
});
