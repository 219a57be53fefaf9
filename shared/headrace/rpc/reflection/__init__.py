"""The Open Inference Protocol, version 2. Its messages live in a descriptor pool of their own."""
