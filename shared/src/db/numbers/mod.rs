//! Assigns numbers and takes them back: `AVAILABLE → ASSIGNED → COOLING_DOWN → AVAILABLE`.
//!
//! # The allocation lock
//! The *allocation lock* makes allocation fast, and its results true. While numbers are plentiful and no client waits,
//! any number of transactions allocate concurrently: each holds the lock shared, and takes the first rows that no other
//! has locked. A transaction that finds too few rows, a waiting client, or a client for whom a number cools down, starts
//! over with the lock exclusive: then no other allocation is in flight, and its view of the pool is complete. Only then
//! is a client told that the pool is empty, put on the waiting list, offered a number, or given back its own.
//!
//! # Cooling down
//! A number whose client has left cools down, because its old callers still ring it. Until it has cooled down, only
//! that client can get it back. Allocation for other clients looks only at rows that are AVAILABLE, so it cannot assign
//! a number that cools down.
//!
//! # Lock order
//! This is a part of the order in `shared/README.md`: clients by id; the allocation lock; rows of the pool in the order
//! in which they were seeded; the lanes of events after these.
//!
//! * A transaction that has the allocation lock shared waits for a row of the pool only if its number is held by a
//!   client that the same transaction has locked. It skips free rows that another transaction has locked.
//! * [`release()`] and [`drain()`], which concern a single number, need its holder locked before the allocation lock.
//! * Upgrading the lock from shared to exclusive can deadlock. So [`allocate()`] first rolls back to its savepoint, and
//!   a transaction that allocates before it calls [`end_service()`] takes the lock exclusively before both.

mod allocate;

mod lock;

mod assign;

mod release;

mod keep;

mod request;

mod stock;

pub(crate) mod changes;

pub mod levels;

pub mod ownerless;

pub mod purchases;

pub use allocate::*;
pub use assign::*;
pub use keep::*;
pub use lock::lock_allocation_exclusive;
pub use release::*;
pub use request::NumberRequest;
pub use stock::*;
