-- The index over sessions. Many rows come as one row, of JSON: __init__.py says why.

-- name: put_sessions
INSERT INTO session (log_id, user_id, title, updated_at_ms, is_open, owner, summary) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (log_id) DO UPDATE SET
  user_id = excluded.user_id,
  title = excluded.title,
  updated_at_ms = excluded.updated_at_ms,
  is_open = excluded.is_open,
  owner = excluded.owner,
  summary = excluded.summary;

-- name: delete_session
DELETE FROM session WHERE log_id = :log_id;

-- name: get
SELECT session.summary FROM log JOIN session USING (log_id) WHERE log.session_id = ?;

-- name: page
-- Rows behind a position, newest first, as JSON lines [updated_at_ms, log_id, summary].
SELECT CAST(group_concat('[' || updated_at_ms || ',' || log_id || ',' || CAST(summary AS TEXT) || ']', char(10)) AS BLOB)
FROM (
  SELECT updated_at_ms, log_id, summary
  FROM session
  WHERE (updated_at_ms, log_id) < (:updated_at_ms, :log_id)
  ORDER BY updated_at_ms DESC, log_id DESC
  LIMIT :limit
);

-- name: page_of_user
SELECT CAST(group_concat('[' || updated_at_ms || ',' || log_id || ',' || CAST(summary AS TEXT) || ']', char(10)) AS BLOB)
FROM (
  SELECT updated_at_ms, log_id, summary
  FROM session
  WHERE user_id = :user_id AND (updated_at_ms, log_id) < (:updated_at_ms, :log_id)
  ORDER BY updated_at_ms DESC, log_id DESC
  LIMIT :limit
);

-- name: page_of_matches
SELECT CAST(group_concat('[' || updated_at_ms || ',' || log_id || ',' || CAST(summary AS TEXT) || ']', char(10)) AS BLOB)
FROM (
  SELECT updated_at_ms, log_id, summary
  FROM session
  WHERE log_id IN (
      SELECT text.log_id
      FROM (SELECT rowid AS text_id FROM text_index WHERE text_index MATCH :match ORDER BY rowid DESC LIMIT :texts) AS found
      JOIN text USING (text_id)
    )
    AND (:user_id IS NULL OR user_id = :user_id)
    AND (updated_at_ms, log_id) < (:updated_at_ms, :log_id)
  ORDER BY updated_at_ms DESC, log_id DESC
  LIMIT :limit
);

-- name: unfinished
SELECT json_group_array(session_id)
FROM (
  SELECT session_id
  FROM log
  WHERE log_id IN (SELECT log_id FROM session WHERE is_open UNION SELECT log_id FROM inbox)
  ORDER BY session_id
);

-- name: add_texts
INSERT INTO text (log_id, seq, role, body) VALUES (?, ?, ?, ?);

-- name: index_texts
INSERT INTO text_index (rowid, owner, words) VALUES (?, ?, ?);

-- name: texts
-- Of some records, or of all.
SELECT json_group_array(json_array(text_id, body))
FROM text
WHERE log_id = :log_id AND (:seqs IS NULL OR seq IN (SELECT value FROM json_each(:seqs)));

-- name: unindex_texts
-- A table without content forgets a text by being told the words of it.
INSERT INTO text_index (text_index, rowid, owner, words) VALUES ('delete', ?, ?, ?);

-- name: delete_texts
DELETE FROM text WHERE text_id IN (SELECT value FROM json_each(?));

-- name: words_from
-- Words that begin with a prefix, by leaps: counting how often each occurs would read the whole index.
WITH RECURSIVE word (term) AS (
  SELECT (SELECT term FROM text_word WHERE term >= :prefix LIMIT 1)
  UNION ALL
  SELECT (SELECT term FROM text_word WHERE term >= word.term || char(1) LIMIT 1)
  FROM word
  WHERE substr(word.term, 1, length(:prefix)) = :prefix
  LIMIT :limit
)
SELECT json_group_array(term) FROM word WHERE substr(term, 1, length(:prefix)) = :prefix;

-- name: search
-- The latest texts that match, with as much of them as ranking weighs: [text_id, beginning of the body].
SELECT json_group_array(json_array(text.text_id, substr(text.body, 1, :chars)))
FROM (SELECT rowid AS text_id FROM text_index WHERE text_index MATCH :match ORDER BY rowid DESC LIMIT :texts) AS found
JOIN text USING (text_id)
JOIN session USING (log_id)
WHERE :user_id IS NULL OR session.user_id = :user_id;

-- name: hits
-- The texts that are shown, whole.
SELECT json_group_array(json_array(text.text_id, log.session_id, text.seq, text.role, text.body, session.title))
FROM json_each(:text_ids) AS wanted
JOIN text ON text.text_id = wanted.value
JOIN session USING (log_id)
JOIN log USING (log_id);

-- name: owners
-- Each owner of open sessions once, found by jumping over the sessions of each.
WITH RECURSIVE owner_of_some (owner) AS (
  SELECT min(owner) FROM session WHERE is_open AND owner >= ''
  UNION ALL
  SELECT (SELECT min(session.owner) FROM session WHERE is_open AND session.owner > owner_of_some.owner)
  FROM owner_of_some
  WHERE owner_of_some.owner IS NOT NULL
)
SELECT json_group_array(owner) FROM owner_of_some WHERE owner IS NOT NULL;

-- name: orphaned
-- An owner that is not known, as a process of an older version leaves it, may be gone.
SELECT json_group_array(session_id)
FROM (
  SELECT session_id
  FROM log
  WHERE log_id IN (
    SELECT log_id FROM session WHERE is_open AND owner IN (SELECT value FROM json_each(:gone))
    UNION
    SELECT log_id FROM session WHERE is_open AND owner IS NULL
    UNION
    SELECT log_id FROM inbox
    WHERE NOT EXISTS (
      SELECT 1 FROM session
      WHERE session.log_id = inbox.log_id AND is_open AND owner NOT IN (SELECT value FROM json_each(:gone))
    )
  )
  AND +session_id > :after
  ORDER BY +session_id
  LIMIT :limit
);
