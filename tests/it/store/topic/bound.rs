//! What lives stays bounded.
