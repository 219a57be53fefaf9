"""What puts Headrace onto a machine: the native stack, compose, the image, the front door."""
