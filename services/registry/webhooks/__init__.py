"""Sending webhooks: what is written down with a change leaves from here."""
