INSERT INTO plans (tenant_id, id, spec_id, version, replanned, body, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7)
