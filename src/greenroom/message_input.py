"""What a person sends, checked: text and attachments.

Rule: what is accepted here can be stored, searched, and rendered for every provider.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from greenroom.errors import InvalidArgument, LimitExceeded
from greenroom.events import MessageAccepted
from greenroom.large import from_base64
from greenroom.limits import ID_PATTERN, Limits
from greenroom.messages import FilePart, TextPart, UserPart
from greenroom.runtime.clock import new_id

AttachmentInput = FilePart | Mapping[str, Any]
"""A `FilePart`, or a mapping with `data` (bytes, or base64 text), and `media_type` or a `name` that tells it."""

_KEY_CHARACTERS_MAX: Final = 256
_MEDIA_TYPE: Final = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,126}/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}", re.IGNORECASE)
_MEDIA_TYPES: Final = {
    "csv": "text/csv",
    "gif": "image/gif",
    "html": "text/html",
    "jpeg": "image/jpeg",
    "jpg": "image/jpeg",
    "json": "application/json",
    "md": "text/markdown",
    "pdf": "application/pdf",
    "png": "image/png",
    "txt": "text/plain",
    "webp": "image/webp",
}
"""What models take, by the end of the name. The table of the system is in files, and differs from one to the next."""


def accepted_message(
    text: str,
    *,
    custom_prompt: str | None,
    idempotency_key: str | None,
    attachments: Sequence[AttachmentInput],
    limits: Limits,
    at_ms: int,
    turn_id: str | None = None,
    message_id: str | None = None,
) -> MessageAccepted:
    """Returns the message as it will be stored; ids that the sender did not choose are new.

    Raises:
        InvalidArgument: an empty message, something that is no text, or an attachment that cannot be read.
        LimitExceeded: longer, larger or more than the bounds allow.
    """
    parts = message_parts(text, attachments, limits=limits)
    if custom_prompt is not None:
        _check_text("custom_prompt", custom_prompt, limits.prompt_bytes_max)
    if idempotency_key is not None:
        _check_text("idempotency_key", idempotency_key, _KEY_CHARACTERS_MAX)
    return MessageAccepted(
        message_id=new_id("m", at_ms) if message_id is None else checked_id("message_id", message_id),
        turn_id=new_id("t", at_ms) if turn_id is None else checked_id("turn_id", turn_id),
        parts=parts,
        custom_prompt=custom_prompt,
        idempotency_key=idempotency_key or "",
    )


def message_parts(text: str, attachments: Sequence[AttachmentInput], *, limits: Limits) -> tuple[UserPart, ...]:
    """Returns what a message consists of.

    Raises:
        InvalidArgument, LimitExceeded: as `accepted_message`.
    """
    _check_text("message", text, limits.message_bytes_max)
    if not text.strip() and not attachments:
        raise InvalidArgument("the message is empty", hint="say something, or attach a file")
    if isinstance(attachments, str | bytes | Mapping) or not isinstance(attachments, Sequence):
        raise InvalidArgument(f"attachments is a {type(attachments).__name__}", hint="give a list of attachments")
    if len(attachments) > limits.attachments_max:
        raise LimitExceeded(f"{len(attachments)} attachments are more than {limits.attachments_max}")
    files = tuple(_file(attachment, limits) for attachment in attachments)
    texts = (TextPart(text=text),) if text.strip() else ()
    return (*files, *texts)


def checked_id(what: str, text: object) -> str:
    """Returns an id that the sender has chosen.

    Raises:
        InvalidArgument: it cannot be one.
    """
    if isinstance(text, str) and re.fullmatch(ID_PATTERN, text):
        return text
    raise InvalidArgument(
        f"malformed {what} {str(text)[:80]!r}",
        hint="1 to 128 letters, digits, '-', '_' and '.', beginning with a letter or digit",
    )


def _check_text(what: str, text: object, bytes_max: int) -> None:
    if not isinstance(text, str):
        raise InvalidArgument(f"the {what} is a {type(text).__name__}", hint="give a str")
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise InvalidArgument(
            f"the {what} is not valid Unicode: {error.reason}", hint="remove lone surrogates"
        ) from error
    if size > bytes_max:
        raise LimitExceeded(f"the {what} has {size} bytes; at most {bytes_max} are taken")


def _file(attachment: AttachmentInput, limits: Limits) -> FilePart:
    if not isinstance(attachment, FilePart):
        attachment = _from_mapping(attachment)
    if len(attachment.data) > limits.attachment_bytes_max:
        raise LimitExceeded(
            f"the attachment {_shown(attachment.name)} has {len(attachment.data)} bytes; at most {limits.attachment_bytes_max} are taken"
        )
    if not _MEDIA_TYPE.fullmatch(attachment.media_type):
        raise InvalidArgument(
            f"the media type {attachment.media_type[:80]!r} is malformed",
            hint="write type/subtype, for example image/png",
        )
    if not attachment.data:
        raise InvalidArgument(f"the attachment {_shown(attachment.name)} is empty")
    return attachment


def _from_mapping(attachment: object) -> FilePart:
    if not isinstance(attachment, Mapping) or not set(attachment) <= {"data", "media_type", "name"}:
        raise InvalidArgument("an attachment is a FilePart, or a mapping with data, media_type and name")
    data, name = attachment.get("data"), attachment.get("name", "")
    if isinstance(data, str):
        try:
            data = from_base64(data)
        except ValueError as error:
            raise InvalidArgument(
                f"the data of attachment {_shown(name)} is not base64",
                hint="padded, of the standard alphabet, without line ends",
            ) from error
    media_type = attachment.get("media_type") or _MEDIA_TYPES.get(str(name).rpartition(".")[2].lower())
    if not isinstance(data, bytes) or not isinstance(name, str) or not isinstance(media_type, str):
        raise InvalidArgument(
            f"attachment {_shown(name)} is not complete",
            hint="give data (bytes or base64) and media_type, for example image/png",
        )
    return FilePart(media_type=media_type, data=data, name=name)


def _shown(name: object) -> str:
    return repr(str(name)[:80])
