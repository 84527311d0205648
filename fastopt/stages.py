"""What happens around any rule, written and rendered like a rule.

A stage's first argument is what it shapes: ``g`` before the rule, ``p`` in place. The defaults of its scalars are the values that
change nothing: a stage whose scalars all have them is skipped, never multiplied in. Stages run in the order of this file.
"""


def scale_scalars(*, scale):
    """Minus one, for a function to maximize, is in the scale."""
    return {"scale": scale}


def scale(g, *, scale=1):
    """The gradient times a number (loss scaling; maximization)."""
    return scale * g


def l2_scalars(*, weight_decay):
    """The decay itself."""
    return {"weight_decay": weight_decay}


def l2(g, p, *, weight_decay=0):
    """Gradient of ``weight_decay / 2 * p ** 2``, added to the gradient."""
    return g + weight_decay * p


def decoupled_scalars(*, lr, weight_decay):
    """What one step leaves of the parameter."""
    return {"keep": 1 - lr * weight_decay}


def decoupled(p, *, keep=1):
    """Decoupled weight decay (Loshchilov and Hutter, 2019, algorithm 2)."""
    return keep * p
