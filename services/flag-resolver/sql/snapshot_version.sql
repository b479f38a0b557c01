SELECT version FROM snapshot WHERE only = 1
