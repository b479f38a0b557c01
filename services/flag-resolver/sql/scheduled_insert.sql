INSERT INTO scheduled (
    id, layer, tenant, run, write_json, author, reason, trace_id, created_at, effective_at,
    credential, home_tenant, request_id
)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
