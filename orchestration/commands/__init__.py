"""What a person or a program meets: one module per group of commands, and one presenter."""
