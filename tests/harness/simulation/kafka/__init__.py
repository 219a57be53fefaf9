"""A Kafka broker and its clients, as far as the bus can tell."""
