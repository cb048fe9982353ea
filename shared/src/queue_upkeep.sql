-- How the job queue's own tables are kept in shape. Applied each time that its migrations are, and safe to repeat: it
-- changes settings only, and neither readers nor writers wait for it.
--
-- A job is a row that is written, taken and removed within moments. What it leaves behind is cleared away after so many
-- rows, and not after a share of however many there happen to be. (`apalis.workers` is a few rows, and is cleared after
-- some fifty versions by default.)

ALTER TABLE apalis.jobs SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);
