"""Uses of the platform that are not part of it."""
