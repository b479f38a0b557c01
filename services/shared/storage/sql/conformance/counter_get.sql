SELECT n FROM counters WHERE name = $1
