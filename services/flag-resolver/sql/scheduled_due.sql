SELECT id, layer, tenant, run, write_json, author, reason, trace_id, created_at, effective_at,
    credential, home_tenant, request_id
FROM scheduled
WHERE effective_at <= $1
ORDER BY effective_at, id
LIMIT $2
