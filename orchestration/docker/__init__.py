"""Docker through its own command line: the engine and Compose, containers, and the door that runs the commands."""
