"""Numbers of the matching costs that PyTorch's code and the compiled loops share."""

NOISE = 1e-4
"""Variance that is taken for noise (sRGB-coded grey, 0..1): windows with less texture say nothing."""
LONELY = 0.04
"""What it costs to be matched by one partner alone; beside an object only one may see what lies behind it."""
ALIKE = 0.02
"""Pixels of a partner; planes that differ by less are one."""

FACING = 0.01
"""Area on a partner, in its pixels, of a pixel's plane: up to this it is seen edge-on or from behind, which is not at all."""

FREE_SPACE = 1.03
"""A hypothesis is refuted when a sure depth behind it is this many times as far."""
HIDDEN = 0.97
"""Nearer than this share of a hypothesis' depth, a surface hides it."""
SURE = 0.6
"""Confidence of a depth that may refute others."""
UNSEEN = 0.4
"""Cost of a hypothesis that no other photo can see."""
FLAT = 4e-4
"""Variance of grey around which colour counts as much as texture."""
PLAIN = 0.08
"""Cost of a match by colour alone, where the colours are the same."""

EDGE_ALIKE = 0.004
"""Relative difference of inverse depth up to which two hypotheses of a pixel beside an edge are one."""
EXTENDED = 0.06
"""A plane is handed on as far as its inverse depth changes by this share."""
APART, ALONE = 0.02, 0.04
"""Relative difference of inverse depth from which neighbours stand apart, and what that costs where they look alike."""
EDGE_CONTRAST = 8 / 255
"""Difference of colour (mean of channels) that makes neighbours a third as dear to each other."""
DIAGONAL = 0.7
"""A diagonal neighbour's share of an adjacent one's say."""
EDGE_PLAIN, UNLIKE = 2 * PLAIN, 6.0
"""Cost of a match by colour alone beside an edge, where the colours are the same, and what a difference of colour adds to it."""
STAY, SAME = 0.15, 0.01
"""What speaks for the depth that was matched, times its confidence; and up to which relative difference it is that depth."""
AGREES, PAST = 0.3, 0.7
"""Share by which a partner's depth lessens the cost of what agrees with it, and its cost where it sees past; times confidence."""
MATCHED = 0.5
"""A partner that has something nearer in the way is heard all the same when the match costs no more."""
UNKNOWN, LONE = 0.5, 0.3
"""Cost of what no partner can see, and the least that stands for the second partner where only one sees it."""

CUES_ALIKE = 0.001
"""Relative difference of inverse depth up to which two hypotheses are one to the aggregator."""
CUES_NEAR = 0.01
"""Relative difference of depth at which a partner's agreement has faded to nothing."""
