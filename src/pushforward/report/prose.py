"""Paragraphs of the report that do not depend on the data."""

PRIMER = (
    "A normalizing flow is an invertible map, learnt from data, that turns rows of a table into bell-shaped noise. "
    "Run forwards, it tells how dense the data is at a row: the density of the noise there, times how much the map "
    "stretches space. Run backwards, from fresh noise, it makes new rows.",
    "Densities span many orders of magnitude, so they are given as natural logarithms, in nats. One nat more means 2.7 "
    "times the density, 2.3 nats ten times. Only differences between log-densities of the same table mean something: "
    "change a column from metres to millimetres and every value shifts by the same amount.",
    "The Gaussian beside it is the natural rival: the bell curve with the means, spreads and correlations of the same "
    "data. If a flow does not beat it, the table has no more structure than that, or the flow missed it.",
)

LIMITS = (
    "A low density is not a verdict. A row can be rare and right, or common and wrong. With many columns nearly every "
    "row is unusual somewhere, and a flow can give high densities to rows unlike any that it was trained on. Read the "
    "list of unlikely rows as a place to look first.",
    "A likelihood has no absolute scale: it changes with the units of the columns. Compare it only with that of other "
    "models of the same columns on the same rows.",
    "A good fit of every column and every pair can still miss what three or more columns do together; the coverage and "
    "the latents look at all of them at once, but only in summary.",
    "The errors given here hold for rows drawn independently from the same source as the training rows. If the world "
    "has changed since, or rows depend on each other, they are too small.",
)

CURVES = (
    "Rising validation loss while the training loss falls is overfitting; two flat lines mean that training is done."
)

DENSITIES = (
    "If the flow is right, the rows that it draws are as dense as the real ones and the two shapes agree. A tail of "
    "real rows on the left is what the flow did not expect; the section on unlikely rows lists them."
)

COVERAGE = (
    "On the diagonal the flow's confidence is right. Below it the flow is overconfident (its regions are too small), "
    "above it underconfident. The band is what chance allows."
)

RANKS = (
    "Every curve is a column; those that leave the band are named. Above 0 on the left and below it on the right: the "
    "draws are too narrow for their contexts, the other way round too wide. Above 0 throughout: too high, below: too "
    "low."
)

QUANTILES = (
    "A line that leaves the diagonal at its ends has tails that are too heavy (steeper) or too light (flatter). The "
    "table shows what each dimension has; in brackets, what N(0, 1) has."
)

REASONS = (
    "The reason is found by trying: one column at a time is set to typical values, and the changes that raise the "
    "log-density most are named, with the gain in nats. If no single change helps, what lies far out is named."
)

JOURNEY = (
    "Move the slider to carry points of plain noise through the flow until they are rows of the table. Nothing is torn "
    "or glued on the way: neighbours stay neighbours, which is why every step can be taken back, and why the density "
    "can be followed exactly."
)
