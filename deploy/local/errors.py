"""What can go wrong with the native stack, as one readable line for a person at a terminal."""


class StackError(Exception):
    """The stack cannot do what was asked; the message says what to do about it."""
