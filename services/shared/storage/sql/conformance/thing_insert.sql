INSERT INTO things (id, note, number, share, body) VALUES ($1, $2, $3, $4, $5)
