SELECT finished_at, (SELECT count(*) FROM tasks WHERE tasks.run_id = runs.id)
FROM runs
WHERE id = $1
