"""Fast operations of the network on CPUs, GPUs and TPUs."""
