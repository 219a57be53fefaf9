"""What the console knows: a fold of events, and the views computed from it. No I/O."""
