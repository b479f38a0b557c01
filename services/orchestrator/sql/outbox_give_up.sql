UPDATE outbox SET state = 'dead', due_at = $2, last_error = $3
WHERE webhook_id = $1 AND state <> 'dead'
