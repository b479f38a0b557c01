SELECT status, seq FROM runs WHERE id = $1
