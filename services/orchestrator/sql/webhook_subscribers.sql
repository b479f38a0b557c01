SELECT tenant_id, id, events FROM webhooks WHERE disabled_reason = '' ORDER BY tenant_id, id
