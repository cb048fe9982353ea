//! A simulated month: people sign up, fall silent, pay, lapse, return, opt out, move to new phones, are called, are erased and sign
//! up again; operators speak with them and interfere; workers die. The rules hold at the end of each day.
//!
//! A seed decides the course of a month. It is printed and can be set, and so can the number of seeds, which are played one after the
//! other: `SEED=8 SEEDS=20 cargo test -p jobrun-tests --test it in_a_month`.
//!
//! To add something that happens, write a method in one of the files of happenings, and name it in `HAPPENINGS`. To add a rule, add a
//! query for its violations to `RULES`.

mod callers;

mod failure;

mod happenings;

mod month;

mod operators;

mod people;

mod phones;

mod random;

mod rules;

mod talk;
