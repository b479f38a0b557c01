-- Sign-ins of browsers, each by the hash of its token. What one may do is what its key may do.
CREATE TABLE sessions (
    hash       BYTEA PRIMARY KEY NOT NULL,
    key_hash   BYTEA NOT NULL,
    tenant_id  UUID NOT NULL,
    created_at BIGINT NOT NULL,
    idle_until BIGINT NOT NULL,
    ends_at    BIGINT NOT NULL
);

CREATE INDEX sessions_by_key ON sessions (key_hash, created_at);
CREATE INDEX sessions_by_end ON sessions (idle_until);
