//! The heart as a whole: its transition table, for people to read, and the rules that no conversation may break.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod answers;

mod texts;

mod table;

mod rules;
