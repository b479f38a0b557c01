-- The overrides in force. `run` is empty for the tenant's own override.
CREATE TABLE overrides (
    tenant   TEXT    NOT NULL CHECK (length(tenant) = 36),
    run      TEXT    NOT NULL CHECK (length(run) IN (0, 36)),
    document TEXT    NOT NULL,
    version  INTEGER NOT NULL,
    author   TEXT    NOT NULL,
    set_at   INTEGER NOT NULL,
    PRIMARY KEY (tenant, run)
) STRICT;

-- The audit: one row for each change, never changed afterwards.
CREATE TABLE changes (
    version     INTEGER NOT NULL PRIMARY KEY,
    tenant      TEXT    NOT NULL,
    run         TEXT    NOT NULL,
    actor       TEXT    NOT NULL,
    changed_at  INTEGER NOT NULL,
    before_json TEXT    NOT NULL,
    after_json  TEXT    NOT NULL
) STRICT;

CREATE INDEX changes_by_owner ON changes (tenant, run, version);

CREATE TRIGGER changes_refuse_update BEFORE UPDATE ON changes
BEGIN
    SELECT RAISE(ABORT, 'changes is append-only');
END;

CREATE TRIGGER changes_refuse_delete BEFORE DELETE ON changes
BEGIN
    SELECT RAISE(ABORT, 'changes is append-only');
END;

-- The version of the newest change. A change takes the next one in its transaction, so versions
-- become visible in their order.
CREATE TABLE snapshot (
    only    INTEGER NOT NULL PRIMARY KEY CHECK (only = 1),
    version INTEGER NOT NULL
) STRICT;

INSERT INTO snapshot (only, version) VALUES (1, 0);
