"""Requests of one model version and one shape share a run, without waiting for one another.

What has arrived together runs together; while a batch runs the next one forms. A model whose
measured cost is small runs on the thread that took the calls in; any other has a queue and a
thread of its own, so that it holds up nobody else.
"""
