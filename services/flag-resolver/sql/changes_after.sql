-- Of the whole installation, oldest first.
SELECT version, layer, tenant, run, kind, actor, reason, trace_id, changed_at,
    before_json, after_json, scheduled_id, effective_at, credential, home_tenant, request_id
FROM changes
WHERE version > $1
ORDER BY version
LIMIT $2
