-- Everything that changed after a version, as it is now. Rows without a document were cleared.
-- `snapshot` is joined so that the version and the rows are of one moment.
SELECT s.version AS snapshot, c.tenant, c.run, o.document, o.version
FROM snapshot s
LEFT JOIN (SELECT DISTINCT tenant, run FROM changes WHERE version > $1) c ON TRUE
LEFT JOIN overrides o ON o.tenant = c.tenant AND o.run = c.run
WHERE s.only = 1
