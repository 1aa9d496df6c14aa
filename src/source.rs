//! The Directory Insights API: one request, one answer.

pub mod query;
