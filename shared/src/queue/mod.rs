//! The only access to apalis, the job queue.
//!
//! A job says that there may be work, and carries no input: the rows say which work. So a job may be lost, doubled or late, and the
//! sweep is the fallback. A job is enqueued in the transaction that makes the work, and becomes visible with it.
//!
//! Jobs lie in apalis's own tables. A backend of our own ([`Jobs`]) takes them, for two reasons. First, all due jobs of a queue say
//! the same, so a worker takes them all as one: a thousand cost as little as one. Second, an announcement after the commit
//! ([`Announcer`]) wakes idle workers ([`JobNotifier`]), and none is missed while a worker reads rows.

mod announce;

mod enqueue;

mod notify;

mod backend;

mod upkeep;

pub use announce::*;
pub use backend::*;
pub use enqueue::*;
pub use notify::*;
pub use upkeep::*;
