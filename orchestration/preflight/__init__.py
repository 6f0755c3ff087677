"""The checks that `inv preflight` prints and a start-up goes by. Read-only."""
