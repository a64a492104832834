-- What users have used.

-- name: add
INSERT INTO ledger (
  user_id, day, input_tokens, output_tokens, cached_input_tokens, cache_write_input_tokens, reasoning_tokens, cost_usd,
  unpriced_tokens, estimated_tokens
)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (user_id, day) DO UPDATE SET
  input_tokens = input_tokens + excluded.input_tokens,
  output_tokens = output_tokens + excluded.output_tokens,
  cached_input_tokens = cached_input_tokens + excluded.cached_input_tokens,
  cache_write_input_tokens = cache_write_input_tokens + excluded.cache_write_input_tokens,
  reasoning_tokens = reasoning_tokens + excluded.reasoning_tokens,
  cost_usd = cost_usd + excluded.cost_usd,
  unpriced_tokens = unpriced_tokens + excluded.unpriced_tokens,
  estimated_tokens = estimated_tokens + excluded.estimated_tokens;

-- name: spent
SELECT
  coalesce(sum(input_tokens), 0),
  coalesce(sum(output_tokens), 0),
  coalesce(sum(cached_input_tokens), 0),
  coalesce(sum(cache_write_input_tokens), 0),
  coalesce(sum(reasoning_tokens), 0),
  coalesce(sum(cost_usd), 0.0),
  coalesce(sum(unpriced_tokens), 0),
  coalesce(sum(estimated_tokens), 0)
FROM ledger
WHERE user_id = ? AND day >= ?;
