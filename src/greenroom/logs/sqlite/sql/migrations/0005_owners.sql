-- Who is at work in an open session: what recovery asks for, each second. NULL: not known. So is the owner of a damaged row, which must
-- not keep the file from being opened: the log says what the session is.
ALTER TABLE session ADD COLUMN owner TEXT;
UPDATE session SET owner = json_extract(CAST(summary AS TEXT), '$.owner') WHERE is_open AND json_valid(CAST(summary AS TEXT));
CREATE INDEX session_by_owner ON session (owner) WHERE is_open;
DROP INDEX session_open;
