-- The first schema: logs and their records, the index over sessions, its full-text search, inbox and notes.
-- What the columns mean, and why they are as they are, is described in docs/event-log.md.

CREATE TABLE log (
  log_id INTEGER PRIMARY KEY AUTOINCREMENT,  -- never given twice: a session that is made again is another log
  session_id TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE record (
  place INTEGER PRIMARY KEY,  -- log_id * 2^31 + seq: the records of a log lie beside each other, in order
  epoch INTEGER NOT NULL,
  at_ms INTEGER NOT NULL,
  key TEXT,  -- of the append; only its first record has it
  body BLOB NOT NULL,
  log_id INTEGER GENERATED ALWAYS AS (place >> 31) VIRTUAL,
  seq INTEGER GENERATED ALWAYS AS (place & 2147483647) VIRTUAL
) STRICT;

-- The promises of the log, held by the file itself against every writer, also an older, a later or a broken one.
CREATE TRIGGER record_follows_its_predecessor BEFORE INSERT ON record
WHEN NOT CASE new.place & 2147483647
  WHEN 0 THEN FALSE
  WHEN 1 THEN EXISTS (SELECT 1 FROM log WHERE log_id = new.place >> 31)
  ELSE EXISTS (SELECT 1 FROM record WHERE place = new.place - 1 AND epoch <= new.epoch)
END
BEGIN
  SELECT RAISE(ABORT, 'a record follows the one before it, in the same epoch or a later one');
END;

CREATE TRIGGER record_is_immutable BEFORE UPDATE ON record
BEGIN
  SELECT RAISE(ABORT, 'a record is never changed');
END;

CREATE TABLE session (
  log_id INTEGER PRIMARY KEY,
  user_id TEXT NOT NULL,
  title TEXT NOT NULL,
  updated_at_ms INTEGER NOT NULL,
  is_open INTEGER NOT NULL,
  summary BLOB NOT NULL
) STRICT;

-- Every index ends with the log_id, which the listing orders by after the time.
CREATE INDEX session_by_time ON session (updated_at_ms);
CREATE INDEX session_by_user ON session (user_id, updated_at_ms);
CREATE INDEX session_open ON session (log_id) WHERE is_open;

CREATE TABLE text (
  text_id INTEGER PRIMARY KEY AUTOINCREMENT,  -- grows with time: the latest texts are looked at first
  log_id INTEGER NOT NULL,
  seq INTEGER NOT NULL,  -- 0 for the title
  role TEXT NOT NULL,
  body TEXT NOT NULL
) STRICT;
CREATE INDEX text_by_place ON text (log_id, seq);

-- Words are cut and folded before they come here, so the tokenizer has nothing to do but to split at spaces.
CREATE VIRTUAL TABLE text_index USING fts5 (owner, words, content = '', columnsize = 0, tokenize = 'ascii');
CREATE VIRTUAL TABLE text_word USING fts5vocab (text_index, instance);

CREATE TABLE inbox (
  item_id INTEGER PRIMARY KEY AUTOINCREMENT,
  log_id INTEGER NOT NULL,
  body BLOB NOT NULL
) STRICT;
CREATE INDEX inbox_by_log ON inbox (log_id);

CREATE TABLE note (
  note_id INTEGER PRIMARY KEY AUTOINCREMENT,
  user_id TEXT NOT NULL,
  kind TEXT NOT NULL,
  key TEXT NOT NULL,
  body TEXT NOT NULL,
  at_ms INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX note_by_key ON note (user_id, kind, key);
CREATE INDEX note_by_time ON note (user_id, kind, at_ms);
CREATE VIRTUAL TABLE note_index USING fts5 (owner, words, content = '', columnsize = 0, tokenize = 'ascii');
