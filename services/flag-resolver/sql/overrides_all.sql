-- Every override. `snapshot` is joined so that the version and the rows are of one moment.
SELECT s.version AS snapshot, o.tenant, o.run, o.document, o.version
FROM snapshot s
LEFT JOIN overrides o ON TRUE
WHERE s.only = 1
