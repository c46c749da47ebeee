"""The tape, read: what pictures, reports and explanations start from.

source   the user's expression that an operation was called from
folding  what repeats itself
graph    the tape frozen, folded, with names and scopes
stats    statistics of the values and gradients in it
cost     FLOPs and bytes of its operations
"""
