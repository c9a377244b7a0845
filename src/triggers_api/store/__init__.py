"""Where everything lives: one protocol, several engines."""
