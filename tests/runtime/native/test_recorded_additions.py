"""Programs on disk do not outlive what was added to the compiler from elsewhere: ops, meanings, loop descriptions."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from staticnet.runtime.native import host

pytestmark = pytest.mark.skipif(not host.available(), reason="no native code on this machine")

NEW_OP = """
    import numpy as np
    import staticnet as sn
    from staticnet.compiler.codegen.loops.operations import apply
    from staticnet.compiler.codegen.loops.pointwise import MEANINGS
    from staticnet.compiler.ops.transcendental import Real

    class Twice(Real):
        pass

    MEANINGS[Twice] = lambda op, x: apply("{}", x, x)
    print(sn.compile(lambda x: sn.twice(x))(np.array([3.0])))
"""
NEW_MEANING = """
    import numpy as np
    import staticnet as sn
    from staticnet.compiler.codegen.loops.operations import apply
    from staticnet.compiler.codegen.loops.pointwise import MEANINGS
    from staticnet.compiler.ops.transcendental import Tanh

    MEANINGS[Tanh] = lambda op, x: apply("{}", x, x)
    print(sn.compile(lambda x: sn.tanh(x))(np.array([3.0])))
"""


@pytest.mark.parametrize("source", [NEW_OP, NEW_MEANING], ids=["op", "meaning"])
def test_another_meaning_gives_another_program(source: str, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("STATICNET_")}
    environment["STATICNET_CACHE_DIR"] = str(tmp_path / "cache")
    script, found = tmp_path / "script.py", []
    for operation in ("add", "multiply"):
        script.write_text(textwrap.dedent(source.format(operation)), encoding="utf-8")
        done = subprocess.run([sys.executable, str(script)], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        found.append(done.stdout.strip())
    assert found == ["[6.]", "[9.]"]
