"""Training and evaluation on several devices and by several processes."""
