"""The worker: a supervisor that claims steps, and one child process for each of them."""
