//! Killed processes, failing statements and a database in trouble.

mod kills;

mod failing_statements;

mod database_trouble;
