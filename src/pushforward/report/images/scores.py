"""The sections that score held-out images: by their classes, and one by one."""

from __future__ import annotations

from collections import Counter

import torch

from ..blocks import Entry, Heading, Listing, Text
from ..evidence import Mean
from ..section import Blocks, Numbers, section
from ..words import fixed
from .evidence import ImageEvidence
from .pictures import across, picture

UNLIKELY = 12


@section("classes", "Class by class", ImageEvidence)
def by_class(e: ImageEvidence) -> Blocks:
    """Bits per dimension for each class."""
    if e.labels is None or not 2 <= len(set(e.labels)) <= 100:
        return
    yield Text("The model is told the class." if e.classes else "The model is not told the class.")
    counts = Counter(e.labels)
    means = {
        name: Mean.over(e.measured[torch.tensor([label == name for label in e.labels])])
        for name in sorted(counts, key=lambda label: (len(label), label))
    }
    rows = [
        [Entry(name, name), Entry(str(mean), mean.value), Entry(f"{counts[name]:,}", counts[name])]
        for name, mean in means.items()
    ]
    heads = [Heading("class", False), Heading("bits per dimension"), Heading("held-out images")]
    yield Listing("classes", "Mean ± standard error by class; the headings sort.", heads, rows)
    yield Numbers({name: mean.value for name, mean in means.items()})


@section("unlikely", "The least likely images", ImageEvidence)
def unlikely_images(e: ImageEvidence) -> Blocks:
    """The least likely held-out images and, for contrast, the likeliest."""
    order = e.log_prob.argsort(stable=True)
    worst, best = order[:UNLIKELY].tolist(), order.flip(0)[:UNLIKELY].tolist()
    percentiles, than = e.percentiles(e.log_prob[worst])
    yield Text(
        "These held-out images have the lowest probability. Busy images are always less probable than plain ones, so "
        "unlikely need not mean odd: look, before you conclude. The percentile says how many in a hundred of "
        f"{than} are less likely still."
    )
    yield picture(e, e.data[worst], "The least likely images.", "The least likely, from the least on.", across(e))
    rows, numbers = [], []
    for place, (index, percentile) in enumerate(zip(worst, percentiles, strict=True), 1):
        value, bits = float(e.log_prob[index]), float(e.measured[index])
        row = [Entry(str(place), place), Entry(e.names[index], e.names[index])]
        row += [Entry(e.labels[index], e.labels[index])] if e.labels else []
        row += [Entry(fixed(value, 1), value), Entry(fixed(bits, 3), bits), Entry(f"{percentile:.2f}", percentile)]
        rows.append(row)
        numbers.append({"image": e.names[index], "log_density": value, "bits_per_dim": bits})
    heads = [Heading("place"), Heading("image", False), *([Heading("class", False)] if e.labels else [])]
    heads += [Heading("log P, nats"), Heading("bits per dimension"), Heading("percentile")]
    yield Listing("unlikely-images", "The same images, in the same order; the headings sort.", heads, rows)
    yield picture(e, e.data[best], "The likeliest images.", "For contrast, the likeliest of all.", across(e))
    yield Numbers({"images": numbers})
