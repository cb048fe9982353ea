-- Settings of the job queue's own tables. Applied after each run of the queue's migrations, and safe to repeat: it changes
-- settings only, and neither readers nor writers wait for it.
--
-- A job is a row that is inserted, claimed and deleted within moments. So autovacuum starts after a fixed number of dead
-- rows, not after a share of the live ones. (`apalis.workers` has few rows; by default it is vacuumed after about fifty
-- dead ones.)

ALTER TABLE apalis.jobs SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
