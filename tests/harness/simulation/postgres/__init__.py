"""A PostgreSQL server and its clients, as far as the bus can tell."""
