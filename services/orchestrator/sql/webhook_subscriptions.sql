SELECT id, events FROM webhooks WHERE tenant_id = $1 AND disabled_reason = '' ORDER BY id
