-- Browsers that are logged in, and one-time codes.

-- name: sweep_logins
DELETE FROM login WHERE ends_at_ms <= :now_ms OR seen_at_ms <= :seen_after_ms;

-- name: add_login
INSERT INTO login (digest, login_id, user_id, basis, proof, created_at_ms, seen_at_ms, ends_at_ms, user_agent)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: trim_logins
DELETE FROM login WHERE digest IN (
  SELECT digest FROM login WHERE user_id = :user_id ORDER BY seen_at_ms DESC, login_id DESC LIMIT -1 OFFSET :count_max
);

-- name: find_login
SELECT digest, login_id, user_id, basis, proof, created_at_ms, seen_at_ms, ends_at_ms, user_agent
FROM login WHERE digest = ?;

-- name: touch_login
UPDATE login SET seen_at_ms = :seen_at_ms WHERE digest = :digest AND seen_at_ms < :seen_at_ms;

-- name: page_logins
SELECT json_group_array(
  json_array(hex(digest), login_id, user_id, basis, hex(proof), created_at_ms, seen_at_ms, ends_at_ms, user_agent)
)
FROM (SELECT * FROM login ORDER BY seen_at_ms DESC, login_id DESC LIMIT :limit);

-- name: page_logins_of_user
SELECT json_group_array(
  json_array(hex(digest), login_id, user_id, basis, hex(proof), created_at_ms, seen_at_ms, ends_at_ms, user_agent)
)
FROM (SELECT * FROM login WHERE user_id = :user_id ORDER BY seen_at_ms DESC, login_id DESC LIMIT :limit);

-- name: remove_login
DELETE FROM login WHERE login_id = :login_id AND (:user_id IS NULL OR user_id = :user_id);

-- name: remove_logins
DELETE FROM login WHERE :user_id IS NULL OR user_id = :user_id;

-- name: remove_codes
DELETE FROM login_code WHERE :user_id IS NULL OR user_id = :user_id;

-- name: sweep_codes
DELETE FROM login_code WHERE ends_at_ms <= ?;

-- name: add_code
INSERT OR REPLACE INTO login_code (digest, user_id, basis, ends_at_ms) VALUES (?, ?, ?, ?);

-- name: trim_codes
DELETE FROM login_code WHERE digest IN (SELECT digest FROM login_code ORDER BY ends_at_ms DESC LIMIT -1 OFFSET ?);

-- name: find_code
SELECT digest, user_id, basis, ends_at_ms FROM login_code WHERE digest = ?;

-- name: remove_code
DELETE FROM login_code WHERE digest = ?;
