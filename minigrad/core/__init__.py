"""The engine, read in this order.

tape       nodes, and the two walks over them: reverse mode (`pull`) and forward mode (`push`)
context    whether operations are recorded, and the scope they stand in
tree       nested containers of arrays and tensors
dtypes     what a tensor may hold
tensor     Tensor: a node with an array's face; the registry of operations; NumPy's protocols
primitive  a function with a rule for each input, in each direction
"""
