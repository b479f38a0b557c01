SELECT DISTINCT owner FROM tasks WHERE state = 'leased' AND internal = 0
