"""What tracking costs under load."""
