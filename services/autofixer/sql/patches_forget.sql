DELETE FROM patches WHERE tenant = $1 AND recorded_at < $2
