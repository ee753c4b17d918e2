"""From Programs to code: steps described as loops, loops printed as LLVM IR."""
