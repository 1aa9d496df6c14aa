//! What a restart reads.
