SELECT coalesce(max(version), 0) + 1 FROM plans WHERE tenant_id = $1 AND spec_id = $2
