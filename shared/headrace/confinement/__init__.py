"""Taking rights away from the own process for good, without root: Linux Landlock and seccomp."""
