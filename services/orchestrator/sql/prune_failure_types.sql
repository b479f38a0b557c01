DELETE FROM run_failure_types WHERE run_id = $1
