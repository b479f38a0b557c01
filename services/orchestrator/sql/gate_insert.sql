INSERT INTO gates (tenant_id, id, run_id, status, created_at) VALUES ($1, $2, $3, $4, $5)
