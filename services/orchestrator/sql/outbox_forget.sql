DELETE FROM outbox WHERE state = 'dead' AND due_at < $1
