"""What tests of several suites need to drive the real bus."""
