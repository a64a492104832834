-- How much of what users have used is an estimate: of what was counted before, nothing.
ALTER TABLE ledger ADD COLUMN estimated_tokens INTEGER NOT NULL DEFAULT 0;
