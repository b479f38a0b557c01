SELECT rev FROM runs WHERE id = $1
