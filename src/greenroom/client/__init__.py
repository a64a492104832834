"""The HTTP API of a Greenroom server, from Python.

::

    async with Client("http://127.0.0.1:8765", token=token) as client:
        session = await client.create_session(title="Trip")
        async for event in client.stream(session["session_id"], "Hello"):
            ...

Rule: what the server refuses is raised as the error that the manager would have raised.
"""

from greenroom.client.answer import Answer
from greenroom.client.api import Client
from greenroom.client.connection import ServerUnavailable

__all__ = ["Answer", "Client", "ServerUnavailable"]
