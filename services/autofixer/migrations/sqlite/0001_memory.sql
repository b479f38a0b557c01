-- What came of fixers' patches, by tenant; `record_key` makes saying it twice harmless.
CREATE TABLE outcomes (
    tenant       TEXT    NOT NULL CHECK (length(tenant) = 36),
    record_key   TEXT    NOT NULL,
    fingerprint  TEXT    NOT NULL,
    failure_type TEXT    NOT NULL,
    tool         TEXT    NOT NULL,
    fixer        TEXT    NOT NULL,
    outcome      TEXT    NOT NULL,
    patch_sha256 TEXT    NOT NULL,
    duration_ms  INTEGER NOT NULL,
    tokens       INTEGER NOT NULL,
    recorded_at  INTEGER NOT NULL,
    PRIMARY KEY (tenant, record_key)
) STRICT;

CREATE INDEX outcomes_by_failure ON outcomes (tenant, fingerprint, recorded_at);
CREATE INDEX outcomes_by_tool ON outcomes (tenant, failure_type, tool, recorded_at);

-- Patches that healed a failure and may heal it again.
CREATE TABLE patches (
    tenant       TEXT    NOT NULL CHECK (length(tenant) = 36),
    fingerprint  TEXT    NOT NULL,
    patch_sha256 TEXT    NOT NULL,
    fixer        TEXT    NOT NULL,
    patch        TEXT    NOT NULL,
    approved     INTEGER NOT NULL CHECK (approved IN (0, 1)),
    recorded_at  INTEGER NOT NULL,
    PRIMARY KEY (tenant, fingerprint, patch_sha256)
) STRICT;
