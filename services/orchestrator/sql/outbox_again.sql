INSERT INTO outbox (webhook_id, run_id, seq, tenant_id, state, due_at)
SELECT w.id, e.run_id, e.seq, w.tenant_id, 'waiting', $5
FROM webhooks w
JOIN runs r ON r.tenant_id = w.tenant_id
JOIN events e ON e.run_id = r.id
WHERE w.tenant_id = $1 AND w.id = $2 AND w.disabled_reason = '' AND r.id = $3 AND e.seq = $4
ON CONFLICT (webhook_id, run_id, seq) DO UPDATE
SET state = 'waiting', due_at = excluded.due_at, tries = 0, last_error = ''
