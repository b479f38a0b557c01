UPDATE outbox SET state = $5, due_at = $6, last_error = $7
WHERE webhook_id = $1 AND run_id = $2 AND seq = $3 AND tries = $4
