-- Of a tenant and its runs; of the whole platform where it is empty.
SELECT id, layer, tenant, run, write_json, author, reason, trace_id, created_at, effective_at,
    credential, home_tenant, request_id
FROM scheduled
WHERE tenant = $1
ORDER BY effective_at, id
