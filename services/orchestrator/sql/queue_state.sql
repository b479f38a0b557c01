SELECT kind, internal, state, count(*) FILTER (WHERE due_at <= $1),
       count(*) FILTER (WHERE due_at > $1), min(due_at)
FROM tasks WHERE state <> 'done' GROUP BY kind, internal, state
