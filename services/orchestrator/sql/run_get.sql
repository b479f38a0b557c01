SELECT seq, rev, body, body_seq FROM runs WHERE id = $1
