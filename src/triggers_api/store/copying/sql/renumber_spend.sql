-- Numbers that nobody has: each is spent by a transaction that does nothing.
DO $do$
BEGIN
    FOR i IN 1..%(count)s LOOP
        PERFORM pg_current_xact_id();
        COMMIT;
    END LOOP;
END
$do$
