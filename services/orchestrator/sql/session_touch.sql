UPDATE sessions SET idle_until = $2 WHERE hash = $1 AND idle_until < $2
