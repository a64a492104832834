"""The model providers: one translation each, from a request to the wire and from the wire to stream items.

Rule: a backend knows neither the core nor another backend; what is common stands in modules of its own.
"""
