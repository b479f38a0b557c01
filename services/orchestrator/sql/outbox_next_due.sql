SELECT min(due_at) FROM outbox WHERE state <> 'dead'
