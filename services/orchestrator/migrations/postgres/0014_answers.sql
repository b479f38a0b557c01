-- Answers to requests that named a key, kept for a day.
CREATE TABLE answers (
    tenant_id   UUID   NOT NULL,
    slot        BYTEA  NOT NULL,
    request     BYTEA  NOT NULL,
    holder      UUID   NOT NULL,
    state       TEXT   NOT NULL CHECK (state IN ('working', 'done')),
    since       BIGINT NOT NULL,
    lease_until BIGINT NOT NULL,
    status      BIGINT NOT NULL DEFAULT 0,
    location    TEXT   NOT NULL DEFAULT '',
    body        BYTEA,
    sealed      BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant_id, slot)
);

CREATE INDEX answers_by_age ON answers (since);
