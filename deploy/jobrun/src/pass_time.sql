-- Makes everything recorded older by `jobrun.passed`, as if that time had passed and nothing had happened meanwhile.
-- Not the leases and the schedule of sweeps, which workers renew all the time, and nothing of the console: its people stay logged in.
DO $$
DECLARE
    passed CONSTANT INTERVAL := current_setting('jobrun.passed')::INTERVAL;
    aged RECORD;
BEGIN
    -- All locks come first, in one order, so that no row is written at the old time meanwhile.
    FOR aged IN
        SELECT tables.table_name AS name FROM information_schema.tables
         WHERE table_schema = current_schema() AND table_type = 'BASE TABLE'
           AND table_name NOT IN ('_sqlx_migrations', 'leases', 'sweeps', 'audit_log') AND table_name NOT LIKE 'console%'
         ORDER BY table_name
    LOOP
        EXECUTE format('LOCK TABLE %I IN EXCLUSIVE MODE', aged.name);
    END LOOP;
    FOR aged IN
        SELECT columns.table_name AS name, string_agg(format('%1$I = %1$I - $1', columns.column_name), ', ') AS changes
          FROM information_schema.columns JOIN information_schema.tables USING (table_schema, table_name)
         WHERE table_schema = current_schema() AND table_type = 'BASE TABLE'
           AND table_name NOT IN ('_sqlx_migrations', 'leases', 'sweeps', 'audit_log') AND table_name NOT LIKE 'console%'
           AND data_type = 'timestamp with time zone' AND is_generated = 'NEVER'
         GROUP BY columns.table_name
    LOOP
        EXECUTE format('UPDATE %I SET %s', aged.name, aged.changes) USING passed;
    END LOOP;
    UPDATE apalis.jobs SET run_at = run_at - passed WHERE status = 'Pending' AND run_at > now();
END
$$;
