UPDATE runs SET status = $1, seq = $2, body = $3 WHERE id = $4 AND seq = $5
