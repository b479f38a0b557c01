UPDATE tasks
SET state = 'leased', owner = $1, epoch = epoch + 1, tries = tries + 1, lease_until = $2
WHERE id = $3 AND state = 'ready' AND run_id IS NULL
