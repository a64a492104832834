"""The backend `local`: a small language model on this machine, without a key and without a network.

* `backend`: the backend itself, which composes the rest;
* `server`, `child`: the llama.cpp server, as a child process;
* `model`: the embedded model and how it gets here;
* `fitting`: what a request loses on the way to a model this small.

Rule: this package is imported by whoever asks for a list of backends, so it loads nothing heavy.
"""

from greenroom.backends.local.backend import LocalBackend
from greenroom.backends.local.model import EMBEDDED, ModelFile, find_model, list_models, pull
from greenroom.backends.local.server import LocalServer

__all__ = ["EMBEDDED", "LocalBackend", "LocalServer", "ModelFile", "find_model", "list_models", "pull"]
