"""The engine, read in this order.

tape       nodes, and the two walks over them: reverse mode (`pull`) and forward mode (`push`)
context    whether operations are recorded, and the scope they stand in
tree       nested containers of arrays and tensors
dtypes     what a tensor may hold
hints      what other libraries call otherwise, and what to write here
errors     how errors and warnings are worded, and which line of the user's they name
leaving    how a tensor leaves the graph: where it is said, never silently
again      backward passes that walk through what the one before walked
tensor     Tensor: a node with an array's face; the registry of operations; NumPy's protocols
primitive  a function with a rule for each input, in each direction
late       names of a package that are loaded when first used
"""
