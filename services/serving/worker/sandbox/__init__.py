"""Models whose loading runs code, each in a confined process of its own.

`runtime` is the worker's side, `child` the other; `wire` is what they say to each other.
"""
