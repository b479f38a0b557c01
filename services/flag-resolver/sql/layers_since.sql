-- Every layer that was written after a version. `snapshot` is joined so that the version and the
-- rows are of one moment.
SELECT s.version AS snapshot, l.layer, l.tenant, l.run, l.document, l.version
FROM snapshot s
LEFT JOIN layers l ON l.version > $1
WHERE s.only_row = 1
