-- Sign-ins of browsers, each by the hash of its token. What one may do is what its key may do.
CREATE TABLE sessions (
    hash       BLOB PRIMARY KEY NOT NULL,
    key_hash   BLOB NOT NULL,
    tenant_id  BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    idle_until INTEGER NOT NULL,
    ends_at    INTEGER NOT NULL
) STRICT;

CREATE INDEX sessions_by_key ON sessions (key_hash, created_at);
CREATE INDEX sessions_by_end ON sessions (idle_until);
