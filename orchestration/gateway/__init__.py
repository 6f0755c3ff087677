"""The gateway: its container, its login, its API, and the wait until it is ready."""
