UPDATE gates SET status = $1 WHERE id = $2
