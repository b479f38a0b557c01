-- How far the changes that other services keep have been put on record.
CREATE TABLE audit_sources (
    source TEXT NOT NULL PRIMARY KEY,
    seq    BIGINT NOT NULL
);

INSERT INTO audit_sources (source, seq) VALUES ('settings', 0);
