"""The doors to the world: commands, processes, the clock, files and the lock. Nothing else here touches them."""
