-- A task that rather goes to another runner than this one.
ALTER TABLE tasks ADD COLUMN avoid TEXT NOT NULL DEFAULT '';

-- Failures that went away on the same commit without a change.
CREATE TABLE flaky (
    tenant_id BLOB NOT NULL,
    -- Names the source, the same for every spec of it.
    cache_key TEXT NOT NULL,
    step TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    source TEXT NOT NULL,
    failure_type TEXT NOT NULL,
    message TEXT NOT NULL,
    times INTEGER NOT NULL,
    first_at INTEGER NOT NULL,
    last_at INTEGER NOT NULL,
    run_id BLOB NOT NULL,
    PRIMARY KEY (tenant_id, cache_key, step, fingerprint)
) STRICT;
