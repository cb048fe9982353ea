-- Tasks that one process does at a time, whichever it is: a process that holds a lease renews it before it ends.
CREATE TABLE leases (
    task   TEXT        NOT NULL,
    holder TEXT        NOT NULL,
    until  TIMESTAMPTZ NOT NULL,

    CONSTRAINT a_task_has_one_holder PRIMARY KEY (task)
);
