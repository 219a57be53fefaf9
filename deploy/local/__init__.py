"""The native stack: backends, front door and services as plain supervised processes.

`make up`, `make demo`, the tests and the benchmarks all start them through this one package.
"""

from deploy.local.backends import Backends
from deploy.local.errors import StackError
from deploy.local.options import StackOptions
from deploy.local.stack import Stack

__all__ = ["Backends", "Stack", "StackError", "StackOptions"]
