"""The child process: a llama.cpp server for one model, and nothing else.

Run by path, not imported: the child needs the standard library and `xllamacpp`, and starts in a tenth of the time that loading
Greenroom takes. It speaks with its parent over its standard streams:

* standard input: the first line is its orders as JSON (`server.Orders`); after that nothing comes, and the end of the input
  means that the parent is gone or wants it gone;
* standard output: one line of JSON when it serves: `{"port": ..., "tools": ..., "context_tokens": ...}`; no other line ever;
* standard error: what llama.cpp complains about.

Rule: standard library and `xllamacpp` only, and never alive without its parent.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import signal
import sys
import threading
import urllib.request
from typing import Any, Final

HOST: Final = "127.0.0.1"
LOG_ERRORS: Final = 1  # llama.cpp's verbosity: what it says at 3 is about every request.
PROMPT_CACHE_MIB: Final = 128  # Its own default is 8 GiB of conversations that left their slot.
PR_SET_PDEATHSIG: Final = 1  # from <linux/prctl.h>


def main() -> None:
    """Serves until the standard input ends."""
    orders = json.loads(sys.stdin.buffer.readline())
    # Native code may print; the report has the standard output for itself.
    report = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    _end_with_parent()
    server = _serve(orders)
    properties = _properties(server.listening_address, orders["api_key"])
    capabilities = properties.get("chat_template_caps", {})
    facts = {
        "port": int(server.listening_address.rpartition(":")[2]),
        "tools": bool(capabilities.get("supports_tools")),
        "context_tokens": int(properties["default_generation_settings"]["n_ctx"]),
    }
    report.write(json.dumps(facts) + "\n")
    report.close()
    threading.Event().wait()


def _end_with_parent() -> None:
    """Makes sure that this process ends with its parent, however that ends.

    The end of the standard input is the way that works everywhere; on Linux the kernel also does it, even while native code
    that is loading a model keeps Python from noticing.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=_exit_at_end_of_input, daemon=True).start()


def _exit_at_end_of_input() -> None:
    while os.read(0, 4096):
        pass
    # Not sys.exit: there is nothing to save, and the server's destructor waits for the answer that it is giving.
    os._exit(0)


def _serve(orders: dict[str, Any]) -> Any:
    # An extra that may be missing, and one without types.
    xllamacpp = importlib.import_module("xllamacpp")
    params = xllamacpp.CommonParams()
    params.model.path = orders["model_path"]
    params.model_alias = {orders["model_name"]}
    params.hostnames = [HOST]
    params.port = 0
    # Without the first two, any web page that the user visits could use the model.
    params.api_keys = [orders["api_key"]]
    params.cors_origins = ""
    params.cors_credentials = False
    params.ui = False
    params.endpoint_slots = False
    params.offline = True
    params.verbosity = LOG_ERRORS
    # llama.cpp divides the context among its slots.
    params.n_parallel = orders["slots"]
    params.n_ctx = orders["context_tokens"] * orders["slots"]
    params.n_predict = orders["answer_tokens"]
    params.cpuparams.n_threads = orders["threads"]
    params.cpuparams_batch.n_threads = orders["threads"]
    params.cache_ram_mib = PROMPT_CACHE_MIB
    params.sleep_idle_seconds = orders["idle_s"]
    params.sampling.penalty_repeat = orders["repeat_penalty"]
    try:
        return xllamacpp.Server(params)
    except RuntimeError as error:
        # Its text says nothing; llama.cpp has said on the standard error what is wrong.
        raise SystemExit(1) from error


def _properties(address: str, api_key: str) -> dict[str, Any]:
    # An opener of its own, because the environment may name a proxy.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(f"{address}/props", headers={"Authorization": f"Bearer {api_key}"})  # noqa: S310 - http
    with opener.open(request, timeout=30) as answer:
        properties: dict[str, Any] = json.load(answer)
    return properties


if __name__ == "__main__":
    main()
