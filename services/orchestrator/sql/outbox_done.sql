-- Only by whoever sends it now: a later sender counts another try.
DELETE FROM outbox WHERE webhook_id = $1 AND run_id = $2 AND seq = $3 AND tries = $4
