"""All loop descriptions, imported for what they register."""

from staticnet.compiler.codegen.loops import fused

__all__ = ["fused"]
