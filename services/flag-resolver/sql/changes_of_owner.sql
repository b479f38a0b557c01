-- Of a tenant or a run, newest first. An empty run means everything of the tenant.
SELECT version, layer, tenant, run, kind, actor, reason, trace_id, changed_at,
    before_json, after_json, scheduled_id, effective_at, credential, home_tenant, request_id
FROM changes
WHERE tenant = $1
    AND ($2 = '' OR run = $2)
    AND ($3 = '' OR settings LIKE $3)
    AND version < $4
ORDER BY version DESC
LIMIT $5
