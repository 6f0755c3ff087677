"""What other people's published programs know of a gateway's login: recordings, and how they are made."""
