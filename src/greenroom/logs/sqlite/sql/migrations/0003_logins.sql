-- Browsers that are logged in, and the one-time codes with which others may. Of secrets there are only digests.

CREATE TABLE login (
  digest BLOB PRIMARY KEY,
  login_id TEXT NOT NULL UNIQUE,
  user_id TEXT NOT NULL,
  basis TEXT NOT NULL,  -- token, key, jwt or operator
  proof BLOB NOT NULL,
  created_at_ms INTEGER NOT NULL,
  seen_at_ms INTEGER NOT NULL,
  ends_at_ms INTEGER NOT NULL,
  user_agent TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX login_by_time ON login (seen_at_ms);
CREATE INDEX login_by_user ON login (user_id, seen_at_ms);

CREATE TABLE login_code (
  digest BLOB PRIMARY KEY,
  user_id TEXT NOT NULL,
  basis TEXT NOT NULL,
  ends_at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
