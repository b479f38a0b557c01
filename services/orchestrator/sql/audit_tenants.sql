SELECT tenant_id FROM audit_heads ORDER BY tenant_id
