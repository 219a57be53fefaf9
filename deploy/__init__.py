"""Everything that puts Headrace onto a machine: the native stack, compose, the container image, the front door."""
