"""Predictions asked for and answered over Kafka topics: a process of its own."""
