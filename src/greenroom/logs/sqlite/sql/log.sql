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

-- name: read
-- The number of a log and of its last record; and its records behind one, as many as fit, one JSON line each. As bytes: a
-- damaged body must reach the decoder as it is.
WITH RECURSIVE
  bound (log_id, head) AS (
    SELECT
      log_id,
      (SELECT max(place) FROM record WHERE place BETWEEN log.log_id << 31 AND (log.log_id << 31) + 2147483647)
    FROM log
    WHERE session_id = :session_id AND log_id = coalesce(:log_id, log_id)
  ),
  chunk (place, bytes) AS (
    SELECT record.place, length(record.body)
    FROM bound JOIN record ON record.place = (bound.log_id << 31) + :after_seq + 1
    UNION ALL
    SELECT record.place, chunk.bytes + length(record.body)
    FROM chunk JOIN record ON record.place = chunk.place + 1
    WHERE record.place <= (SELECT head FROM bound) AND chunk.bytes < :bytes
    LIMIT :limit
  )
SELECT
  bound.log_id,
  bound.head & 2147483647,
  (
    SELECT CAST(group_concat(line, char(10)) AS BLOB)
    FROM (
      SELECT
        '{"seq":' || seq || ',"epoch":' || epoch || ',"at_ms":' || at_ms || ',"event":' || CAST(body AS TEXT) || '}' AS line
      FROM record
      WHERE place > (bound.log_id << 31) + :after_seq AND place <= (SELECT max(place) FROM chunk)
      ORDER BY place
    )
  )
FROM bound;

-- name: delete_records
DELETE FROM record WHERE place BETWEEN :log_id << 31 AND (:log_id << 31) + 2147483647;

-- name: delete_log
DELETE FROM log WHERE log_id = :log_id;
