INSERT INTO changes (
    version, layer, tenant, run, kind, actor, reason, trace_id, changed_at, settings,
    before_json, after_json, scheduled_id, effective_at, credential, home_tenant, request_id
)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)
