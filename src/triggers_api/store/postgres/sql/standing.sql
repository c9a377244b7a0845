-- What the server is, and whether it may be written to durably.
SELECT current_setting('server_version') AS version,
       current_setting('server_version_num')::integer AS version_number,
       current_setting('fsync') AS fsync,
       current_setting('full_page_writes') AS full_page_writes,
       current_setting('synchronous_commit') AS synchronous_commit,
       pg_is_in_recovery() AS in_recovery,
       current_setting('transaction_read_only') AS read_only,
       pg_backend_pid() AS backend,
       (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now
