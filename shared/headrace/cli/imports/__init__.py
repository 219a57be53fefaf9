"""`headrace import`: experiments of other tools, moved here with their ids."""
