-- What users have used, by day. It begins empty: what was used before is not counted.

CREATE TABLE ledger (
  user_id TEXT NOT NULL,
  day INTEGER NOT NULL,  -- of UTC, counted from 1970
  input_tokens INTEGER NOT NULL,
  output_tokens INTEGER NOT NULL,
  cached_input_tokens INTEGER NOT NULL,
  cache_write_input_tokens INTEGER NOT NULL,
  reasoning_tokens INTEGER NOT NULL,
  cost_usd REAL NOT NULL,  -- of the tokens whose price is known
  unpriced_tokens INTEGER NOT NULL,
  PRIMARY KEY (user_id, day)
) STRICT, WITHOUT ROWID;
