-- How many runs are on their way is asked every few seconds; those that ended are the most.
CREATE INDEX runs_open ON runs (status) WHERE finished_at IS NULL;
