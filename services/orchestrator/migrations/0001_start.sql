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

-- Runs: the state is the document; the columns beside it are for lists.
CREATE TABLE runs (
    tenant_id BLOB NOT NULL,
    id BLOB NOT NULL UNIQUE,
    spec_id BLOB NOT NULL,
    status TEXT NOT NULL,
    seq INTEGER NOT NULL,
    body TEXT NOT NULL,
    request_id TEXT,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, request_id)
) STRICT;

CREATE TABLE run_failure_types (
    run_id BLOB NOT NULL,
    failure_type TEXT NOT NULL,
    PRIMARY KEY (run_id, failure_type)
) STRICT;

-- The append-only event log, dense per run.
CREATE TABLE events (
    run_id BLOB NOT NULL,
    seq INTEGER NOT NULL,
    type TEXT NOT NULL,
    step TEXT NOT NULL,
    at INTEGER NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (run_id, seq)
) STRICT;

CREATE TRIGGER events_are_not_changed BEFORE UPDATE ON events
BEGIN SELECT RAISE(ABORT, 'the event log is append-only'); END;
CREATE TRIGGER events_are_not_deleted BEFORE DELETE ON events
BEGIN SELECT RAISE(ABORT, 'the event log is append-only'); END;

CREATE TABLE gates (
    tenant_id BLOB NOT NULL,
    id BLOB NOT NULL UNIQUE,
    run_id BLOB NOT NULL,
    status TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, id)
) STRICT;

-- What a run leaves behind besides its log: the combined patch, the file list.
CREATE TABLE artifacts (
    run_id BLOB NOT NULL,
    name TEXT NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (run_id, name)
) STRICT;

-- The queue. A task is leased to one worker at a time; each lease has a higher epoch.
CREATE TABLE tasks (
    id BLOB PRIMARY KEY NOT NULL,
    tenant_id BLOB NOT NULL,
    run_id BLOB,
    kind TEXT NOT NULL,
    step TEXT NOT NULL,
    internal INTEGER NOT NULL,
    sharing TEXT NOT NULL,
    due_at INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('ready', 'leased', 'dropped', 'done')),
    owner TEXT NOT NULL DEFAULT '',
    epoch INTEGER NOT NULL DEFAULT 0,
    lease_until INTEGER NOT NULL DEFAULT 0,
    tries INTEGER NOT NULL DEFAULT 0,
    payload TEXT NOT NULL DEFAULT '',
    result TEXT NOT NULL DEFAULT ''
) STRICT;

CREATE INDEX tasks_by_due ON tasks (state, internal, due_at);
CREATE INDEX tasks_by_run ON tasks (run_id);
CREATE INDEX runs_by_time ON runs (tenant_id, created_at);
CREATE INDEX gates_by_status ON gates (tenant_id, status, created_at);
CREATE INDEX plans_by_spec ON plans (tenant_id, spec_id, version);
