-- The layers in force, one row an owner; a row that was cleared stays with an empty document, so
-- that its version still says when. `tenant` and `run` are empty where the layer has none.
CREATE TABLE layers (
    layer    TEXT   NOT NULL CHECK (layer IN ('platform', 'rollout', 'tenant', 'run', 'kill_switch')),
    tenant   TEXT   NOT NULL CHECK (length(tenant) IN (0, 36)),
    run      TEXT   NOT NULL CHECK (length(run) IN (0, 36)),
    document TEXT   NOT NULL,
    version  BIGINT NOT NULL,
    PRIMARY KEY (layer, tenant, run)
);

CREATE INDEX layers_by_version ON layers (version);

-- Changes that will take effect.
CREATE TABLE scheduled (
    id           TEXT   NOT NULL PRIMARY KEY CHECK (length(id) = 36),
    layer        TEXT   NOT NULL,
    tenant       TEXT   NOT NULL,
    run          TEXT   NOT NULL,
    write_json   TEXT   NOT NULL,
    author       TEXT   NOT NULL,
    reason       TEXT   NOT NULL,
    trace_id     TEXT   NOT NULL,
    created_at   BIGINT NOT NULL,
    effective_at BIGINT NOT NULL
);

CREATE INDEX scheduled_by_time ON scheduled (effective_at);

-- The audit: one row for each change, never changed afterwards. `settings` holds the names of the
-- settings that it is about, each between spaces.
CREATE TABLE changes (
    version      BIGINT NOT NULL PRIMARY KEY,
    layer        TEXT   NOT NULL,
    tenant       TEXT   NOT NULL,
    run          TEXT   NOT NULL,
    kind         TEXT   NOT NULL CHECK (kind IN ('written', 'scheduled', 'applied', 'canceled')),
    actor        TEXT   NOT NULL,
    reason       TEXT   NOT NULL,
    trace_id     TEXT   NOT NULL,
    changed_at   BIGINT NOT NULL,
    settings     TEXT   NOT NULL,
    before_json  TEXT   NOT NULL,
    after_json   TEXT   NOT NULL,
    scheduled_id TEXT   NOT NULL,
    effective_at BIGINT
);

CREATE INDEX changes_by_tenant ON changes (tenant, version);
CREATE INDEX changes_by_run ON changes (tenant, run, version);

CREATE FUNCTION changes_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'changes is append-only';
END;
$$;

CREATE TRIGGER changes_refuse_change BEFORE UPDATE OR DELETE OR TRUNCATE ON changes
    FOR EACH STATEMENT EXECUTE FUNCTION changes_refuse();

-- The version of the newest change. A change takes the next one first in its transaction, which
-- makes writers wait for each other, so versions become visible in their order.
CREATE TABLE snapshot (
    only_row INTEGER NOT NULL PRIMARY KEY CHECK (only_row = 1),
    version  BIGINT  NOT NULL
);

INSERT INTO snapshot (only_row, version) VALUES (1, 0);
