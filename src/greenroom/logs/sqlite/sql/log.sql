-- Records. Many rows come as one row, of JSON lines: __init__.py says why.

-- name: heads
-- The ends of the logs of some sessions, and what their index rows say.
SELECT json_group_array(
  json_array(log.session_id, log.log_id, record.place & 2147483647, record.epoch, session.user_id, session.title)
)
FROM json_each(:session_ids) AS wanted
JOIN log ON log.session_id = wanted.value
LEFT JOIN record ON record.place = (
  SELECT max(place) FROM record WHERE place BETWEEN log.log_id << 31 AND (log.log_id << 31) + 2147483647
)
LEFT JOIN session ON session.log_id = log.log_id;

-- name: add_logs
INSERT INTO log (session_id) VALUES (?);

-- name: add_records
INSERT INTO record (place, epoch, at_ms, key, body) VALUES (?, ?, ?, ?, ?);

-- name: appended
-- The records of the append with this key behind a place, one JSON line each; none if it was not made there.
SELECT CAST(group_concat(line, char(10)) AS BLOB)
FROM (
  SELECT
    '{"seq":' || seq || ',"epoch":' || epoch || ',"at_ms":' || at_ms || ',"event":' || CAST(body AS TEXT) || '}' AS line
  FROM record
  WHERE place > :after
    AND (SELECT key FROM record WHERE place = :after + 1) = :key
    AND place < coalesce(
      (SELECT min(place) FROM record WHERE place > :after + 1 AND place <= :last AND key IS NOT NULL), :last + 1
    )
  ORDER BY place
);

-- name: log_of
SELECT log_id FROM log WHERE session_id = ?;

-- name: read
-- Records behind a place, one JSON line each, as bytes: a damaged body must reach the decoder as it is.
SELECT CAST(group_concat(line, char(10)) AS BLOB)
FROM (
  SELECT
    '{"seq":' || seq || ',"epoch":' || epoch || ',"at_ms":' || at_ms || ',"event":' || CAST(body AS TEXT) || '}' AS line
  FROM record
  WHERE place > :after AND place <= :last
  ORDER BY place
  LIMIT :limit
);

-- name: delete_records
DELETE FROM record WHERE place BETWEEN ?1 << 31 AND (?1 << 31) + 2147483647;

-- name: delete_log
DELETE FROM log WHERE log_id = ?;
