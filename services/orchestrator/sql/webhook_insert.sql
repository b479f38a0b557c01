INSERT INTO webhooks (tenant_id, id, url, events, created_by, created_at)
VALUES ($1, $2, $3, $4, $5, $6)
