SELECT id, tenant_id, run_id, kind, step, sharing, due_at, state, owner, epoch, lease_until, tries,
       priority, labels, avoid, payload
FROM tasks WHERE state = 'leased' AND owner = $1
