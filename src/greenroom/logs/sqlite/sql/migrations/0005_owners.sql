-- Who is at work in an open session: what recovery asks for, each second. Before this version nobody wrote it; nobody knows then.
ALTER TABLE session ADD COLUMN owner TEXT;
UPDATE session SET owner = json_extract(CAST(summary AS TEXT), '$.owner') WHERE is_open;
CREATE INDEX session_by_owner ON session (owner) WHERE is_open;
DROP INDEX session_open;
