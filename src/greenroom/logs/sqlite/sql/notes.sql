-- Memories and preferences of users.

-- name: count
SELECT count(*) FROM note WHERE user_id = ? AND kind = ?;

-- name: add
INSERT INTO note (user_id, kind, key, body, at_ms) VALUES (?, ?, ?, ?, ?);

-- name: index
INSERT INTO note_index (rowid, owner, words) VALUES (?, ?, ?);

-- name: find
SELECT note_id, body FROM note WHERE user_id = ? AND kind = ? AND key = ?;

-- name: unindex
INSERT INTO note_index (note_index, rowid, owner, words) VALUES ('delete', ?, ?, ?);

-- name: delete
DELETE FROM note WHERE note_id = ?;

-- name: get
SELECT kind, key, body, at_ms FROM note WHERE user_id = ? AND kind = ? AND key = ?;

-- name: page
SELECT json_group_array(json_array(kind, key, body, at_ms))
FROM (
  SELECT kind, key, body, at_ms
  FROM note
  WHERE user_id = :user_id AND kind = :kind
  ORDER BY at_ms DESC, note_id DESC
  LIMIT :limit OFFSET :offset
);

-- name: search
-- The latest notes with a word; asked once for each word, so that a rare word is not crowded out by a frequent one.
SELECT json_group_array(json_array(note_id, kind, key, body, at_ms))
FROM (SELECT rowid AS note_id FROM note_index WHERE note_index MATCH :match ORDER BY rowid DESC LIMIT :notes) AS found
JOIN note USING (note_id)
WHERE user_id = :user_id AND kind = :kind;
