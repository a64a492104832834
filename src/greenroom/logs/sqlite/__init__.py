"""Sessions in one SQLite file: the default, for one machine and any number of processes on it.

Theory of operation. Everything that changes the file goes through one thread with one connection: it takes whatever waits,
makes it one transaction, and tells everybody at once when it is on the disk (group commit). Reading has threads and
connections of its own and never waits for writing (WAL). Several processes may use the file: SQLite lets one write at a time,
and each log is fenced by its records' numbers and epochs.

The interpreter's lock decides the shape of the statements. Every step of a statement gives it up, and on a busy event loop
getting it back takes up to a switch interval (5 ms). So the number of steps must not grow with the number of rows: many rows
are written by one statement of many VALUES, and read as one row, of JSON that SQLite puts together.

Modules, in the order of reading: `statements` (SQL by name), `database` (files, connections, errors), `schema` (migrations),
`presence` (which processes live), `worker` and `engine` (the threads), `append`, `texts` (what a transaction writes), and
the parts of a store: `log`, `index`, `ledger`, `inbox`, `notes`, `logins`.

Rule: SQL stands in `sql/*.sql`; nothing outside of this package knows that there is any.
"""

from greenroom.logs.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
