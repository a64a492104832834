"""Every bound in Greenroom, named, with its unit.

Rule: whatever a client, a model, a tool or a disk can make grow has a bound here. A bound that somebody may want to change
is a field of `Limits`; one that only protects a format is a constant.
"""

from __future__ import annotations

from typing import Final

import msgspec

ID_PATTERN: Final = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}"
"""What a session id looks like. No slash and no leading dot: it is also the name of the workspace folder."""

CALL_ID_PATTERN: Final = r"[a-zA-Z0-9_-]{1,64}"
"""What every provider accepts as the id of a tool call (Claude: `^[a-zA-Z0-9_-]+$`, OpenAI: 64 characters at most)."""

NAME_PATTERN: Final = r"[a-zA-Z0-9_-]{1,64}"
"""What every provider accepts as the name of a tool."""

SSE_LINE_BYTES_MAX: Final = 48 * 1024 * 1024
"""Longest line of a provider's stream, and longest answer that is not streamed: a response that is repeated as a whole fits with its pictures, an endless line does not fill memory."""

SSE_LINES_BYTES_MAX: Final = 256 * 1024 * 1024
"""What all streams of providers in one process may hold of events of more than 1 MiB that have not ended."""

PROVIDER_VALUES_MAX: Final = 500_000
"""List elements and object members in one event of a provider's stream, or in an answer that is not streamed: decoding makes an object of each."""

PATH_BYTES_MAX: Final = 1024
"""A path in a workspace, in UTF-8. The shortest that a system of today must take as a whole (macOS: PATH_MAX)."""

PATH_DEPTH_MAX: Final = 32
"""Folders within folders of a workspace: every level is an open descriptor while a tree is walked."""

PATTERN_CHARACTERS_MAX: Final = 1000
"""A glob or regular expression that a model writes."""

METADATA_DEPTH_MAX: Final = 64
"""Lists and objects within each other in a session's metadata: who reads or writes it may go down one call for each."""

JSON_DEPTH_MAX: Final = 128
"""Lists and objects within each other in anything that comes as JSON: decoding goes down one call for each."""

JSON_NUMBER_CHARACTERS_MAX: Final = 128
"""A number in anything that comes as JSON: making a number of digits takes the square of their count."""

ARGUMENTS_ENCODED_MAX: Final = 8
"""How often the arguments of a tool call may have been encoded as a JSON text; they are read nevertheless."""

ARGUMENTS_REPAIRED_VALUES_MAX: Final = 20_000
"""Values (and backslashes that JSON does not know) in the arguments of a tool call that are not quite JSON: reading these takes longer than decoding."""

BUNDLE_RATIO_MAX: Final = 100
"""How many times its size a bundle may unpack to, above 16 MiB. What is more repetitive is exported without packing it."""

BUNDLE_TIME_MS_MAX: Final = 253_402_300_799_999
"""Latest time of a record in a bundle: the end of the year 9999, the last that Python can write as a date. The earliest is 1970."""

BUNDLE_USAGE_MAX: Final = 10**12
"""Tokens, or dollars, that one step in a bundle may have used: they are added up, and compared with budgets. None is negative."""

LOG_LINE_CHARACTERS_MAX: Final = 8 * 1024
"""A message, or a traceback, in the server's log; longer ones are cut."""

SOURCE_URL_CHARACTERS_MAX: Final = 2048
"""The address of a source that an answer names; a longer one is shown as text, cut, and not as a link."""

SOURCE_TITLE_CHARACTERS_MAX: Final = 300
"""The title of a source; a longer one is cut."""

SOURCE_QUOTE_CHARACTERS_MAX: Final = 1000
"""What is quoted of a source; more is cut."""

RANDOM_COUNT_MAX: Final = 1000
"""Random values, or dice, of one call."""

PERSONA_FILES_MAX: Final = 500
"""Files of one folder of personas."""


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The bounds that an operator may change."""

    message_bytes_max: int = 1024 * 1024
    """Text of one message from a person, in UTF-8."""
    attachment_bytes_max: int = 10 * 1024 * 1024
    """One attachment, or one picture that a model made."""
    attachments_max: int = 16
    """Attachments of one message, or pictures that a model made in one step."""
    prompt_bytes_max: int = 256 * 1024
    """A persona's text or a custom prompt, in UTF-8."""
    reason_bytes_max: int = 16 * 1024
    """What a person says about an approval, in UTF-8."""
    queue_max: int = 100
    """Accepted messages of one session that wait for their turn."""

    flush_ms_max: int = 50
    """How long a delta may wait before it is written to the log."""
    flush_bytes_max: int = 4096
    """How much text may wait before it is written to the log."""

    step_bytes_max: int = 16 * 1024 * 1024
    """Everything that one step of a model may produce: its texts, and, counted separately, its pictures."""
    step_parts_max: int = 512
    """Parts (texts, reasonings, tool calls) of one step."""
    sources_max: int = 100
    """Sources that one step may name; more are left out, and the user is told."""
    tool_arguments_bytes_max: int = 1024 * 1024
    """Arguments of one tool call."""
    tool_output_bytes_max: int = 256 * 1024
    """Result of one tool call; more is cut, and the model is told."""
    tools_concurrent_max: int = 16
    """Tool calls of one step that run at the same time."""

    attempts_max: int = 2
    """How often a step is asked again after a stream that broke; deaths of its process in a row, without progress, that a turn or call survives."""
    retries_max: int = 3
    """How often a request is repeated before its first delta."""
    retry_base_s: float = 0.5
    """First pause of the backoff; doubled each time, with jitter."""
    retry_wait_s_max: float = 60.0
    """Longest pause that a provider's Retry-After can cause; a longer one ends the turn with an error."""
    stream_idle_s_max: float = 300.0
    """How long nothing of an answer may come in the middle of a stream; comments, pings and empty chunks are nothing."""

    reader_entries_max: int = 4096
    """Entries that wait for one reader; a slower one goes back to reading the log."""
    read_page_bytes: int = 32 * 1024
    """How much a reader takes from the log at a time, and holds while nobody takes it away."""
    sessions_open_max: int = 10_000
    """Sessions held in memory; the one idle for longest leaves first."""
    sessions_open_bytes_max: int = 512 * 1024 * 1024
    """What the histories of the sessions in memory take, about; the one idle for longest leaves first."""
    session_idle_s_max: float = 900.0
    """How long an idle session stays in memory."""
    revive_wait_s_max: float = 30.0
    """Longest pause between two looks at a session whose log has failed."""
    recovery_look_s_max: float = 1.0
    """Longest pause before a server looks again for sessions whose process is gone."""
    stop_s_max: float = 0.5
    """How long a tool or backend that was stopped may take to end, before it is left behind."""
    close_s_max: float = 30.0
    """How long a backend or toolset may take to close, before it is stopped and left behind."""
    drain_s_max: float = 10.0
    """How long closing waits for a running step, or a call that must not run twice, before it is cut off."""

    request_body_bytes_max: int = 32 * 1024 * 1024
    """Body of one HTTP request that may carry attachments. They come in base64, a third larger than they are."""
    text_body_bytes_max: int = 4 * 1024 * 1024
    """Body of one HTTP request that carries a text or a tool call's arguments, and no files: escaped, a text is up to three times as long."""
    json_body_bytes_max: int = 1024 * 1024
    """Body of any other HTTP request in JSON."""
    json_values_max: int = 50_000
    """List elements and object members in one HTTP request, or in one record of a bundle; counted before they are decoded."""
    request_bodies_bytes_max: int = 512 * 1024 * 1024
    """Bodies of all HTTP requests that are being read or answered."""
    request_bodies_per_user_bytes_max: int = 64 * 1024 * 1024
    """Bodies of one user's HTTP requests that are being read or answered. A single one may be larger."""
    import_bytes_max: int = 256 * 1024 * 1024
    """A bundle that comes over HTTP, packed."""
    request_headers_bytes_max: int = 32 * 1024
    """First line and headers of one HTTP request; and what stands around the pieces of a body that comes in pieces."""
    request_read_s_max: float = 30.0
    """How long a client may take to send one HTTP request."""
    answers_bytes_max: int = 512 * 1024 * 1024
    """Answers that wait for their clients to read them, of all users. A single one may be larger."""
    answers_per_user_bytes_max: int = 128 * 1024 * 1024
    """Answers that wait for one user's clients to read them. A single one may be larger."""
    unread_s_max: float = 60.0
    """How long a client may leave what was sent to it unread."""
    connections_max: int = 10_000
    """Open HTTP connections of all users."""
    connections_per_address_max: int = 1_000
    """Open HTTP connections of one address (of IPv6, one /64 network); of this machine, and of trusted proxies, any number."""
    streams_max: int = 5_000
    """Open streams of all users."""
    streams_per_user_max: int = 200
    """Open streams of one user."""
    requests_per_minute_max: int = 6_000
    """HTTP requests of one user."""
    failed_logins_per_minute_max: int = 60
    """Credentials from one address that are not accepted; more are answered with 429. One that is accepted is always let in."""
    logins_per_user_max: int = 50
    """Browsers in which one user is logged in; the one not used for longest is logged out."""
    login_idle_s_max: float = 14 * 24 * 3600.0
    """How long a browser stays logged in without being used."""
    login_s_max: float = 90 * 24 * 3600.0
    """How long a browser stays logged in, however much it is used."""
    login_code_s_max: float = 600.0
    """How long a one-time code is good for."""
    login_codes_max: int = 100
    """One-time codes that are not used yet; the one that expires first leaves."""
    log_waiting_bytes_max: int = 4 * 1024 * 1024
    """What the server's log may hold for a reader that does not read; more is dropped, and counted."""
    messages_per_minute_max: int = 600
    """Messages that one user sends over HTTP."""

    page_max: int = 500
    """Rows of one page of a listing or search."""
    search_words_max: int = 32
    """Words of one query; what comes behind them is not looked for."""
    search_text_chars_max: int = 64 * 1024
    """How much of one text can be found: its beginning."""
    search_texts_max: int = 1_000
    """Places that one search looks at, the latest first: a word that is everywhere costs no more than one that is not."""
    export_bytes_max: int = 1024 * 1024 * 1024
    """A session's bundle, unpacked."""
    import_records_max: int = 500_000
    """Records of a bundle."""
    import_record_bytes_max: int = 64 * 1024 * 1024
    """One record of a bundle: a message with all its attachments, in base64."""
    copies_max: int = 4
    """Sessions that are exported, imported or copied at the same time, each as a whole in memory; others wait."""
    workspace_bytes_max: int = 256 * 1024 * 1024
    """All files of one workspace."""
    workspace_files_max: int = 10_000
    """Number of files and folders of one workspace."""
    workspace_file_bytes_max: int = 16 * 1024 * 1024
    """One file of a workspace."""
    workspace_read_bytes_max: int = 48 * 1024
    """What one look into a file shows to a model; it can ask for the next lines."""
    workspace_lines_max: int = 500
    """Lines of one listing, tree or search result."""
    workspace_search_s_max: float = 5.0
    """How long one search through the text of files may take."""
    file_threads_max: int = 8
    """Threads for tools that work with files, of all users; and as many for people who do, over HTTP and in Python."""
    file_threads_per_user_max: int = 2
    """Of these, those of one user; what is more waits, and counts against the tool's time."""
    search_threads_max: int = 4
    """Searches through the text of files, of all users: a thread and a process each."""
    search_threads_per_user_max: int = 2
    """Searches through the text of files, of one user; what is more waits, and counts against the tool's time."""
    memories_max: int = 10_000
    """Memories of one user."""
    memory_bytes_max: int = 16 * 1024
    """One memory, or one preference."""
    preferences_max: int = 500
    """Preferences of one user."""


DEFAULT_LIMITS: Final = Limits()
