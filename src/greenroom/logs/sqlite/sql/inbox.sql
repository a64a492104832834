-- What waits for the owner of a session.

-- name: post
INSERT INTO inbox (log_id, body) SELECT log_id, ? FROM log WHERE session_id = ?;

-- name: pending
SELECT item_id, body FROM inbox WHERE log_id = (SELECT log_id FROM log WHERE session_id = ?) ORDER BY item_id;

-- name: remove
DELETE FROM inbox
WHERE log_id = (SELECT log_id FROM log WHERE session_id = :session_id)
  AND item_id IN (SELECT value FROM json_each(:item_ids));

-- name: delete_inbox
DELETE FROM inbox WHERE log_id = :log_id;
