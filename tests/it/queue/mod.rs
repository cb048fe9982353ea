//! Jobs and commits that share work.

mod batching;
