"""What exists: frozen Structs and pure decisions. No I/O, no clock, no logging."""
