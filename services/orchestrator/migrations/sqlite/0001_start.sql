-- Tenants, users and keys.
CREATE TABLE tenants (
    id BLOB PRIMARY KEY NOT NULL,
    name TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE users (
    tenant_id BLOB NOT NULL REFERENCES tenants (id),
    id BLOB NOT NULL,
    email TEXT NOT NULL,
    role TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, email)
) STRICT;

CREATE TABLE api_keys (
    hash BLOB PRIMARY KEY NOT NULL,
    tenant_id BLOB NOT NULL,
    user_id BLOB NOT NULL,
    role TEXT NOT NULL,
    actor TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

-- What to build.
CREATE TABLE specs (
    tenant_id BLOB NOT NULL,
    id BLOB NOT NULL,
    body TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, id)
) STRICT;

CREATE TABLE plans (
    tenant_id BLOB NOT NULL,
    id BLOB NOT NULL,
    spec_id BLOB NOT NULL,
    version INTEGER NOT NULL,
    -- Made by a re-plan: it belongs to its run, and new runs do not start from it.
    replanned INTEGER NOT NULL DEFAULT 0,
    body TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, spec_id, version)
) STRICT;

-- Runs. The event log is the state; the body is what it came to after body_seq events, so that it
-- need not be read from its start. rev counts every change of the run or of its tasks.
CREATE TABLE runs (
    id BLOB PRIMARY KEY NOT NULL,
    tenant_id BLOB NOT NULL,
    spec_id BLOB NOT NULL,
    status TEXT NOT NULL,
    seq INTEGER NOT NULL,
    rev INTEGER NOT NULL,
    body TEXT NOT NULL,
    body_seq INTEGER NOT NULL,
    request_id TEXT,
    created_at INTEGER NOT NULL,
    finished_at INTEGER,
    UNIQUE (tenant_id, request_id)
) STRICT;
CREATE INDEX runs_of_tenant ON runs (tenant_id, id);
CREATE INDEX runs_by_end ON runs (finished_at) WHERE finished_at IS NOT NULL;

CREATE TABLE run_failure_types (
    run_id BLOB NOT NULL,
    failure_type TEXT NOT NULL,
    PRIMARY KEY (run_id, failure_type)
) STRICT, WITHOUT ROWID;

-- The append-only event log, dense per run. Retention removes whole runs: see `pruning`.
CREATE TABLE events (
    run_id BLOB NOT NULL,
    seq INTEGER NOT NULL,
    type TEXT NOT NULL,
    step TEXT NOT NULL,
    at INTEGER NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (run_id, seq)
) STRICT, WITHOUT ROWID;

-- Runs that retention is removing in this transaction; empty otherwise.
CREATE TABLE pruning (run_id BLOB PRIMARY KEY NOT NULL) STRICT;

CREATE TRIGGER events_are_not_changed BEFORE UPDATE ON events
BEGIN SELECT RAISE(ABORT, 'the event log is append-only'); END;
CREATE TRIGGER events_are_not_deleted BEFORE DELETE ON events
WHEN NOT EXISTS (SELECT 1 FROM pruning p WHERE p.run_id = OLD.run_id)
BEGIN SELECT RAISE(ABORT, 'the event log is append-only'); END;

CREATE TABLE gates (
    tenant_id BLOB NOT NULL,
    id BLOB NOT NULL UNIQUE,
    run_id BLOB NOT NULL,
    status TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, id)
) STRICT;
CREATE INDEX gates_by_status ON gates (tenant_id, status, created_at);
CREATE INDEX gates_by_run ON gates (run_id);

-- What a run leaves behind besides its log: the combined patch, the file list.
CREATE TABLE artifacts (
    run_id BLOB NOT NULL,
    name TEXT NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (run_id, name)
) STRICT;

-- The queue. A task is leased to one worker at a time; each lease has a higher epoch. The tasks of
-- a run change only together with its rev. `waiting`: another task of the run is in the way.
CREATE TABLE tasks (
    id BLOB PRIMARY KEY NOT NULL,
    tenant_id BLOB NOT NULL,
    run_id BLOB,
    kind TEXT NOT NULL,
    step TEXT NOT NULL,
    internal INTEGER NOT NULL,
    sharing TEXT NOT NULL,
    due_at INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('waiting', 'ready', 'leased', 'dropped', 'done')),
    owner TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    lease_until INTEGER NOT NULL,
    tries INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    labels TEXT NOT NULL,
    avoid TEXT NOT NULL,
    payload TEXT NOT NULL,
    result TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX tasks_ready ON tasks (internal, tenant_id, labels, priority DESC, due_at, id)
    WHERE state = 'ready';
CREATE INDEX tasks_leased ON tasks (lease_until) WHERE state IN ('leased', 'dropped');
CREATE INDEX tasks_by_run ON tasks (run_id);

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
