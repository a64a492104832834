"""A child process that speaks as `greenroom/backends/local/child.py` does, without a model: run by path.

What the name of its model says is what it does: `fails`, `dies`, `talks`, `lies`, `hangs`; any other name serves, and one with
`tools` in it has tools.
"""

import json
import os
import sys


def main() -> None:
    orders = json.loads(sys.stdin.buffer.readline())
    does = orders["model_name"]
    if does == "fails":
        print("0.00.018.938 E llama: failed to load model from", orders["model_path"], file=sys.stderr)
        sys.exit(1)
    if does == "dies":
        os.abort()
    if does == "talks":
        for line in range(20_000):
            print("0.00.000.001 W line", line, file=sys.stderr)
    if does == "lies":
        print("hello", flush=True)
        sys.exit(0)
    secrets = [name for name in os.environ if "SECRET" in name or "KEY" in name]
    print("serving", *secrets, file=sys.stderr, flush=True)
    if does != "hangs":
        report = {"port": 1, "tools": "tools" in does, "context_tokens": orders["context_tokens"]}
        print(json.dumps(report), flush=True)
    sys.stdin.buffer.read()


if __name__ == "__main__":
    main()
