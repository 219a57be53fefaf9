"""The demo: a year of flights sent through the platform as a client would, and what came of it."""
