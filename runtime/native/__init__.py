"""The native CPU path: kernels compiled by LLVM, run by a native driver over one arena."""
