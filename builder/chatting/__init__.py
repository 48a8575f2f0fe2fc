"""What a conversation in a terminal is made of: its server, its lines, its commands, its interrupts."""
