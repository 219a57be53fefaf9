"""The JSON form of the Open Inference Protocol, for every transport that carries it.

What cannot be read or written raises Failure with INVALID_ARGUMENT, naming the field.
"""
