-- Whoever deletes it carries it out.
DELETE FROM scheduled
WHERE id = $1 AND tenant = $2
RETURNING id, layer, tenant, run, write_json, author, reason, trace_id, created_at, effective_at,
    credential, home_tenant, request_id
