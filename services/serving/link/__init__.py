"""What the control process and its workers say to each other over the Unix socket."""
