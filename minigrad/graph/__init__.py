"""The tape, read: what pictures, reports and explanations start from.

source   the user's expression that an operation was called from
nodes    what a graph is made of: nodes, and the clusters that its scopes are
options  metadata as text
parts    which part of which constant an array is
periods  where a sequence repeats itself
folding  what repeats itself, kept once
opened   checkpoints, with what is inside
graph    the tape frozen, folded, with names and scopes
stats    statistics of the values and gradients in it
cost     FLOPs and bytes of its operations
times    how long these take
"""
