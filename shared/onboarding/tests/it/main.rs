//! The heart as a whole: its transition table, for people to read, and the rules that no conversation may break.

mod table;

mod rules;
