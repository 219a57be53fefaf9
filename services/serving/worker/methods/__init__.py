"""The calls beside inference, by subject: each from bytes to bytes, or from a stream to another."""
