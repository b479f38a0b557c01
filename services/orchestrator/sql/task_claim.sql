-- Leases the task that is due longest. A task that uses its run's workspace alone waits until no
-- other holds it; while such a task waits, no new one starts beside it. A step that was leased
-- before is executed again on restored files, so it is alone as well. A dropped task (its run was
-- canceled) holds the workspace until its runner has ended it or its lease is over. A task that was
-- moved away from a runner goes to another one first, where there is one.
UPDATE tasks
SET state = 'leased', owner = $1, epoch = epoch + 1, lease_until = $2,
    sharing = CASE WHEN kind = 'step' AND tries > 0 THEN 'exclusive' ELSE sharing END,
    tries = tries + 1
WHERE id = (
    SELECT t.id FROM tasks t
    WHERE t.internal = $3
      AND t.due_at <= $4
      AND (t.state = 'ready' OR (t.state = 'leased' AND t.lease_until < $4))
      AND ($5 IS NULL OR t.run_id = $5 OR t.run_id IS NULL)
      AND (t.avoid <> $1 OR t.tries > 0 OR NOT $6)
      AND (t.sharing = 'none' OR NOT EXISTS (
          SELECT 1 FROM tasks o
          WHERE o.run_id = t.run_id AND o.id <> t.id AND o.sharing <> 'none'
            AND (
              (o.state = 'dropped' AND o.lease_until >= $4)
              OR (o.state = 'leased' AND o.lease_until >= $4
                  AND (t.sharing = 'exclusive' OR o.sharing = 'exclusive'
                       OR (t.kind = 'step' AND t.tries > 0)))
              OR (t.sharing = 'shared' AND NOT (t.kind = 'step' AND t.tries > 0)
                  AND o.due_at <= $4
                  AND (o.state = 'ready' OR (o.state = 'leased' AND o.lease_until < $4))
                  AND (o.sharing = 'exclusive' OR (o.kind = 'step' AND o.tries > 0)))
            )
      ))
    ORDER BY t.due_at, t.id
    LIMIT 1
)
RETURNING id, tenant_id, run_id, kind, step, epoch, tries, payload
