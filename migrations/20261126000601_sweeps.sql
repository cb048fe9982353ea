-- When a sweep last did all its work. One row, which every sweep of every worker writes.

CREATE TABLE sweeps (
    one_row         BOOLEAN     NOT NULL DEFAULT TRUE,
    -- Empty until the first sweep has succeeded.
    last_success_at TIMESTAMPTZ,
    -- Sweeps are late if none has succeeded by then.
    late_after      TIMESTAMPTZ NOT NULL,

    CONSTRAINT sweeps_is_one_row PRIMARY KEY (one_row),
    CONSTRAINT sweeps_has_no_other_row CHECK (one_row)
);

INSERT INTO sweeps (late_after) VALUES (now() + INTERVAL '5 minutes');
