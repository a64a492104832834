"""Conformance suites and doubles, shipped for the authors of logs, backends and toolsets.

* `log_conformance`: what every store promises; `faulty_log`: a store whose log fails when it is told to;
* `backend_conformance`: what every backend promises; `strict_openai`, `strict_responses`, `strict_claude`: servers that enforce
  their API's rules (`loopback` is what they have in common);
* `toolset_conformance`: what every toolset promises;
* `virtual_time`: an event loop whose clock jumps.

Rule: what is here is a product: documented, typed, and used by our own tests.
"""
