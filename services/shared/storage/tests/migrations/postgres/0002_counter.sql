INSERT INTO counters (name, n) VALUES ('runs', 0);
