-- The layers in force, one row an owner; a row that was cleared stays with an empty document, so
-- that its version still says when. `tenant` and `run` are empty where the layer has none.
CREATE TABLE layers (
    layer    TEXT   NOT NULL CHECK (layer IN ('platform', 'rollout', 'tenant', 'run', 'kill_switch')),
    tenant   TEXT   NOT NULL CHECK (length(tenant) IN (0, 36)),
    run      TEXT   NOT NULL CHECK (length(run) IN (0, 36)),
    document TEXT   NOT NULL,
    version  INTEGER NOT NULL,
    PRIMARY KEY (layer, tenant, run)
) STRICT;

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
    created_at   INTEGER NOT NULL,
    effective_at INTEGER NOT NULL
) STRICT;

CREATE INDEX scheduled_by_time ON scheduled (effective_at);

-- The audit: one row for each change, never changed afterwards. `settings` holds the names of the
-- settings that it is about, each between spaces.
CREATE TABLE changes (
    version      INTEGER NOT NULL PRIMARY KEY,
    layer        TEXT   NOT NULL,
    tenant       TEXT   NOT NULL,
    run          TEXT   NOT NULL,
    kind         TEXT   NOT NULL CHECK (kind IN ('written', 'scheduled', 'applied', 'canceled')),
    actor        TEXT   NOT NULL,
    reason       TEXT   NOT NULL,
    trace_id     TEXT   NOT NULL,
    changed_at   INTEGER NOT NULL,
    settings     TEXT   NOT NULL,
    before_json  TEXT   NOT NULL,
    after_json   TEXT   NOT NULL,
    scheduled_id TEXT   NOT NULL,
    effective_at INTEGER
) STRICT;

CREATE INDEX changes_by_tenant ON changes (tenant, version);
CREATE INDEX changes_by_run ON changes (tenant, run, version);

CREATE TRIGGER changes_refuse_update BEFORE UPDATE ON changes
BEGIN
    SELECT RAISE(ABORT, 'changes is append-only');
END;

CREATE TRIGGER changes_refuse_delete BEFORE DELETE ON changes
BEGIN
    SELECT RAISE(ABORT, 'changes is append-only');
END;

-- The version of the newest change. A change takes the next one first in its transaction, which
-- makes writers wait for each other, so versions become visible in their order.
CREATE TABLE snapshot (
    only_row INTEGER NOT NULL PRIMARY KEY CHECK (only_row = 1),
    version  INTEGER  NOT NULL
) STRICT;

INSERT INTO snapshot (only_row, version) VALUES (1, 0);
