INSERT INTO specs (tenant_id, id, body, created_at) VALUES ($1, $2, $3, $4)
