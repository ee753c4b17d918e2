"""The loop form printed as LLVM IR."""
