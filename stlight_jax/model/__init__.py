"""The STLight network: its parts, its initial variables, its roll-out and its size."""
