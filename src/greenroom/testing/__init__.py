"""Conformance suites and doubles, shipped for the authors of logs, backends and toolsets.

Rule: what is here is a product: documented, typed, and used by our own tests.
"""
