-- What `jobrun doctor` looks at in the database server.

SELECT current_setting('server_version') AS "version!",
       current_setting('server_version_num')::INTEGER AS "version_number!",
       current_user AS "role!",
       (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS "is_superuser!",
       COALESCE((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), FALSE) AS "is_encrypted!",
       -- Through a socket there is no address.
       COALESCE(inet_server_addr() <<= '127.0.0.0/8' OR inet_server_addr() = '::1', TRUE) AS "is_local!",
       current_setting('fsync') = 'on' AND current_setting('full_page_writes') = 'on' AS "survives_power_cuts!",
       current_setting('synchronous_commit') AS "synchronous_commit!",
       current_setting('max_connections')::INTEGER AS "max_connections!",
       current_setting('max_locks_per_transaction')::INTEGER AS "max_locks_per_transaction!",
       clock_timestamp() AS "now!",
       (SELECT min(xact_start) FROM pg_stat_activity
        WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()) AS oldest_transaction,
       -- Without this right, the transactions of other roles have no time.
       pg_has_role(current_user, 'pg_read_all_stats', 'USAGE') AS "sees_others!"
