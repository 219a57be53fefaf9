"""What tracking costs, on real servers."""
