INSERT INTO users (tenant_id, id, email, role, created_at) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (tenant_id, email) DO NOTHING
