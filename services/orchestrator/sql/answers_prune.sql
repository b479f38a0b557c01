DELETE FROM answers WHERE since <= $1
