-- Tenants, users and keys.
CREATE TABLE tenants (
    id UUID PRIMARY KEY NOT NULL,
    name TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE users (
    tenant_id UUID NOT NULL REFERENCES tenants (id),
    id UUID NOT NULL,
    email TEXT NOT NULL,
    role TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, email)
);

CREATE TABLE api_keys (
    hash BYTEA PRIMARY KEY NOT NULL,
    tenant_id UUID NOT NULL,
    user_id UUID NOT NULL,
    role TEXT NOT NULL,
    actor TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

-- What to build.
CREATE TABLE specs (
    tenant_id UUID NOT NULL,
    id UUID NOT NULL,
    body TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, id)
);

CREATE TABLE plans (
    tenant_id UUID NOT NULL,
    id UUID NOT NULL,
    spec_id UUID NOT NULL,
    version BIGINT NOT NULL,
    -- Made by a re-plan: it belongs to its run, and new runs do not start from it.
    replanned BIGINT NOT NULL DEFAULT 0,
    body TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, spec_id, version)
);

-- Runs. The event log is the state; the body is what it came to after body_seq events, so that it
-- need not be read from its start. rev counts every change of the run or of its tasks.
CREATE TABLE runs (
    id UUID PRIMARY KEY NOT NULL,
    tenant_id UUID NOT NULL,
    spec_id UUID NOT NULL,
    status TEXT NOT NULL,
    seq BIGINT NOT NULL,
    rev BIGINT NOT NULL,
    body TEXT NOT NULL,
    body_seq BIGINT NOT NULL,
    request_id TEXT,
    created_at BIGINT NOT NULL,
    finished_at BIGINT,
    UNIQUE (tenant_id, request_id)
);
CREATE INDEX runs_of_tenant ON runs (tenant_id, id);
CREATE INDEX runs_by_end ON runs (finished_at) WHERE finished_at IS NOT NULL;

CREATE TABLE run_failure_types (
    run_id UUID NOT NULL,
    failure_type TEXT NOT NULL,
    PRIMARY KEY (run_id, failure_type)
);

-- The append-only event log, dense per run. Retention removes whole runs: see `pruning`.
CREATE TABLE events (
    run_id UUID NOT NULL,
    seq BIGINT NOT NULL,
    type TEXT NOT NULL,
    step TEXT NOT NULL,
    at BIGINT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (run_id, seq)
);

-- Runs that retention is removing in this transaction; empty otherwise.
CREATE TABLE pruning (run_id UUID PRIMARY KEY NOT NULL);

CREATE FUNCTION events_are_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND EXISTS (SELECT 1 FROM pruning p WHERE p.run_id = OLD.run_id) THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'the event log is append-only';
END $$;
CREATE TRIGGER events_are_not_changed BEFORE UPDATE OR DELETE ON events
    FOR EACH ROW EXECUTE FUNCTION events_are_append_only();

CREATE TABLE gates (
    tenant_id UUID NOT NULL,
    id UUID NOT NULL UNIQUE,
    run_id UUID NOT NULL,
    status TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX gates_by_status ON gates (tenant_id, status, created_at);
CREATE INDEX gates_by_run ON gates (run_id);

-- What a run leaves behind besides its log: the combined patch, the file list.
CREATE TABLE artifacts (
    run_id UUID NOT NULL,
    name TEXT NOT NULL,
    body BYTEA NOT NULL,
    PRIMARY KEY (run_id, name)
);

-- The queue. A task is leased to one worker at a time; each lease has a higher epoch. The tasks of
-- a run change only together with its rev. `waiting`: another task of the run is in the way.
CREATE TABLE tasks (
    id UUID PRIMARY KEY NOT NULL,
    tenant_id UUID NOT NULL,
    run_id UUID,
    kind TEXT NOT NULL,
    step TEXT NOT NULL,
    internal BIGINT NOT NULL,
    sharing TEXT NOT NULL,
    due_at BIGINT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('waiting', 'ready', 'leased', 'dropped', 'done')),
    owner TEXT NOT NULL,
    epoch BIGINT NOT NULL,
    lease_until BIGINT NOT NULL,
    tries BIGINT NOT NULL,
    priority BIGINT NOT NULL,
    labels TEXT COLLATE "C" NOT NULL,
    avoid TEXT NOT NULL,
    payload TEXT NOT NULL,
    result TEXT NOT NULL
);
CREATE INDEX tasks_ready ON tasks (internal, tenant_id, labels, priority DESC, due_at, id)
    WHERE state = 'ready';
CREATE INDEX tasks_leased ON tasks (lease_until) WHERE state IN ('leased', 'dropped');
CREATE INDEX tasks_by_run ON tasks (run_id);

-- Failures that went away on the same commit without a change.
CREATE TABLE flaky (
    tenant_id UUID NOT NULL,
    -- Names the source, the same for every spec of it.
    cache_key TEXT NOT NULL,
    step TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    source TEXT NOT NULL,
    failure_type TEXT NOT NULL,
    message TEXT NOT NULL,
    times BIGINT NOT NULL,
    first_at BIGINT NOT NULL,
    last_at BIGINT NOT NULL,
    run_id UUID NOT NULL,
    PRIMARY KEY (tenant_id, cache_key, step, fingerprint)
);
