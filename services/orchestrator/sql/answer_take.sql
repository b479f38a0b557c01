INSERT INTO answers (tenant_id, slot, request, holder, state, since, lease_until)
VALUES ($1, $2, $3, $4, 'working', $5, $6)
ON CONFLICT (tenant_id, slot) DO UPDATE
SET request = excluded.request, holder = excluded.holder, state = 'working',
    since = excluded.since, lease_until = excluded.lease_until,
    status = 0, location = '', body = NULL, sealed = 0
WHERE answers.since <= $7
   OR (answers.state = 'working' AND answers.lease_until <= $5
       AND answers.request = excluded.request)
RETURNING holder
