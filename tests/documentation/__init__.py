"""What the pages say, held against the programs; `python -m tests.documentation` writes the page of commands."""
