SELECT colour FROM counters
