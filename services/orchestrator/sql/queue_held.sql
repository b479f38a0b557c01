SELECT tenant_id, count(*) FROM tasks WHERE state = 'leased' AND internal = 0 GROUP BY tenant_id
