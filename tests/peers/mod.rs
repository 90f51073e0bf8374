//! Cairn beside the tools of others.
