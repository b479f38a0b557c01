DELETE FROM outbox WHERE webhook_id = $1
