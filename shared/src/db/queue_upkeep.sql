-- Settings of the job queue's own tables. Applied after each run of the queue's migrations, and safe to repeat: neither readers nor
-- writers wait for it.
--
-- A job is a row that is inserted, claimed and deleted within moments. So autovacuum starts after a fixed number of dead
-- rows, not after a share of the live ones. (`apalis.workers` has few rows; by default it is vacuumed after about fifty
-- dead ones.)

ALTER TABLE apalis.jobs SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);

-- The queue's trigger announces a job in the transaction that enqueues it, and only one such transaction commits at a time. Our
-- programs announce jobs after the commit. Programs of earlier versions do not, and so still have the trigger announce them.

CREATE OR REPLACE FUNCTION apalis.notify_new_jobs() RETURNS TRIGGER AS $$
BEGIN
    IF NEW.run_at <= now() AND current_setting('jobrun.announces_after_commit', TRUE) IS DISTINCT FROM 'on' THEN
        PERFORM pg_notify(
            'apalis::job::insert',
            json_build_object('job_type', NEW.job_type, 'id', NEW.id, 'run_at', NEW.run_at)::TEXT
        );
    END IF;
    RETURN NEW;
END;
$$ LANGUAGE plpgsql;
