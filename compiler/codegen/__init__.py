"""From Programs to machine code: steps described as loops, loops printed as LLVM IR."""
