-- Answers to requests that named a key, kept for a day.
CREATE TABLE answers (
    tenant_id   BLOB    NOT NULL,
    slot        BLOB    NOT NULL,
    request     BLOB    NOT NULL,
    holder      BLOB    NOT NULL,
    state       TEXT    NOT NULL CHECK (state IN ('working', 'done')),
    since       INTEGER NOT NULL,
    lease_until INTEGER NOT NULL,
    status      INTEGER NOT NULL DEFAULT 0,
    location    TEXT    NOT NULL DEFAULT '',
    body        BLOB,
    sealed      INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant_id, slot)
) STRICT;

CREATE INDEX answers_by_age ON answers (since);
