"""What a graph means and how it is made better: dims, ir, ops, autodiff, passes, planning."""
