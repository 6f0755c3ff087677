"""Write the page of commands."""

from tests.documentation.page import render_page
from tests.documentation.programs import read_fab, read_inv
from tests.system import PROJECT

PAGE = PROJECT / "docs/reference/commands.md"

if __name__ == "__main__":
    PAGE.write_text(render_page(read_inv(), read_fab()), encoding="utf-8")
