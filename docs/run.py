"""Keep the pages of docs/ true: run their Python blocks and hold the printed text against the block that follows.

    python docs/run.py docs/tour.md            rewrites the text blocks with what is printed now
    python docs/run.py --check docs/tour.md    exits with 1 when a page says something else

A page is one script: its ```python blocks run in order, in one namespace, as if they were one file
called after the page. A ```text block right after a Python block is what that block prints. A block
opened with ```python norun is shown only.
"""

from __future__ import annotations

import contextlib
import difflib
import io
import re
import sys
import tempfile
from pathlib import Path

BLOCK = re.compile(r"^```python\n(?P<code>.*?)^```\n(?:\n```text\n(?P<text>.*?)^```\n)?", re.MULTILINE | re.DOTALL)


def run(page: Path) -> str:
    """The page with every text block replaced by what its Python block prints."""
    source = page.read_text(encoding="utf-8")
    script = Path(tempfile.mkdtemp()) / f"{page.stem}.py"
    blocks = [match["code"] for match in BLOCK.finditer(source)]
    script.write_text("".join(blocks), encoding="utf-8")  # so that messages can quote the line
    namespace: dict[str, object] = {"__name__": "__main__", "__file__": str(script)}
    line = 0

    def execute(match: re.Match[str]) -> str:
        nonlocal line
        code = match["code"]
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile("\n" * line + code, str(script), "exec"), namespace)
        line += code.count("\n")
        block = f"```python\n{code}```\n"
        if match["text"] is None:
            return block
        lines = [each.rstrip() for each in printed.getvalue().replace(str(script.parent) + "/", "").splitlines()]
        text = "\n".join(lines).strip("\n")
        return f"{block}\n```text\n{text}\n```\n"

    return BLOCK.sub(execute, source)


def main(arguments: list[str]) -> int:
    check = "--check" in arguments
    stale = 0
    for name in arguments:
        if name == "--check":
            continue
        page = Path(name)
        before, after = page.read_text(encoding="utf-8"), run(page)
        if before == after:
            continue
        if check:
            stale += 1
            sys.stdout.writelines(
                difflib.unified_diff(before.splitlines(True), after.splitlines(True), name, "printed")
            )
        else:
            page.write_text(after, encoding="utf-8")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
