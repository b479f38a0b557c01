INSERT INTO tasks (id, tenant_id, run_id, kind, step, internal, sharing, due_at, state, payload,
                   avoid)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'ready', $9, $10)
