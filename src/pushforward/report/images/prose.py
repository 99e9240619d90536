"""Paragraphs of the report of a model of images that do not depend on the data."""

BITS = (
    "A model that gives an image the probability P can store it in log₂(1/P) bits. Divided by the numbers of the "
    "image, that is bits per dimension: 8 would be no compression at all of 8-bit pixels, and what independent pixels "
    "need is the value to beat."
)

BOUND = (
    "A flow has a density, and pixels are whole numbers, so noise within each level is part of the model; one draw of "
    "it gives a lower bound of log P, and the bits shown here are an upper bound."
)

HISTOGRAM = (
    "If the model is right, the images that it draws take as many bits as real ones, and the two shapes agree. A tail "
    "of real images on the right is what the model did not expect."
)

ROUND_TRIP = (
    "A flow is invertible: every image has one latent, and the latent gives back the image, to the last level of every "
    "pixel. Nothing is compressed away."
)

COARSE = (
    "Half of the latents leave at each scale. What the last scale alone remembers of an image shows what the others "
    "were for: texture and exact edges, if all is well."
)

COMPLETIONS = (
    "This model has no latents: it goes through an image pixel by pixel, each given all before it. So it can keep the "
    "upper half of an image and draw the rest."
)

BETWEEN = (
    "Two images are carried to their latents, and points between the latents are carried back. Where the model has "
    "learnt shapes, the images between are plausible; where it has learnt pixels, one fades into the other."
)

UNLIKELY = (
    "These held-out images have the lowest probability. Busy images are always less probable than plain ones, so "
    "unlikely need not mean odd: look, before you conclude."
)

LIMITS = (
    "A low probability is not a verdict. Probabilities of images depend mostly on local texture: models are known to "
    "give smooth images of a kind that they have never seen more than the kind that they were trained on.",
    "Bits per dimension compare models of the same images at the same size and number of levels, and nothing else.",
    "Better samples and better likelihoods are different things; look at both.",
    "The errors given here hold for images drawn independently from the same source as the training images.",
)
