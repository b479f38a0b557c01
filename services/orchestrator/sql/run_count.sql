SELECT count(*) FROM runs r
WHERE r.tenant_id = $1
  AND ($2 = '' OR r.status = $2)
  AND (r.spec_id = $3 OR $3 IS NULL)
  AND r.created_at > $4
  AND ($5 = '' OR EXISTS (
      SELECT 1 FROM run_failure_types f WHERE f.run_id = r.id AND f.failure_type = $5))
