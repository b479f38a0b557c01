SELECT id, note, number, share, body FROM things WHERE id = $1
