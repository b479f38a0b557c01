DELETE FROM sessions WHERE idle_until <= $1
