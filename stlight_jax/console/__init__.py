"""Output for people and signals from them: messages, progress, text tables, Ctrl-C and SIGTERM."""
