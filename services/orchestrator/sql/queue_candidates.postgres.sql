-- The first tasks of each tenant and each set of labels. The walk jumps from one to the next in the
-- index of ready tasks, so a long queue of one costs the others nothing.
WITH RECURSIVE queue AS (
    (SELECT tenant_id, labels FROM tasks
     WHERE state = 'ready' AND internal = $1
     ORDER BY tenant_id, labels LIMIT 1)
    UNION ALL
    SELECT n.tenant_id, n.labels FROM queue q, LATERAL (
        SELECT t.tenant_id, t.labels FROM tasks t
        WHERE t.state = 'ready' AND t.internal = $1
          AND (t.tenant_id, t.labels) > (q.tenant_id, q.labels)
        ORDER BY t.tenant_id, t.labels LIMIT 1) n
)
SELECT c.id, c.run_id, c.tenant_id, c.labels, c.avoid, c.tries, c.priority, c.due_at
FROM queue q, LATERAL (
    SELECT t.* FROM tasks t
    WHERE t.state = 'ready' AND t.internal = $1
      AND t.tenant_id = q.tenant_id AND t.labels = q.labels
      AND (t.run_id = $2 OR $2 IS NULL OR t.run_id IS NULL)
    ORDER BY t.priority DESC, t.due_at, t.id LIMIT $3) c
