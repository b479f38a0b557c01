INSERT INTO outbox (webhook_id, run_id, seq, tenant_id, state, due_at)
VALUES ($1, $2, $3, $4, 'waiting', $5)
ON CONFLICT (webhook_id, run_id, seq) DO NOTHING
