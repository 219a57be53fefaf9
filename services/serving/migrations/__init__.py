"""Numbered SQL files of the schema `serving`."""
