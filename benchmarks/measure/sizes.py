"""The sizes at which all libraries build their models."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Size:
    """One model and its data; ``features`` is the number of colour channels if ``side`` makes it an image."""

    features: int = 43
    hidden: tuple[int, ...] = (512, 512)
    layers: int = 5
    batch: int = 512
    bins: int = 8
    side: int = 0
    device: str = "cpu"

    @property
    def event(self) -> tuple[int, ...]:
        return (self.features, self.side, self.side) if self.side else (self.features,)

    def but(self, **changes) -> Size:
        return replace(self, **changes)

    def __str__(self) -> str:
        event = "x".join(map(str, self.event))
        return f"{event} features, {self.layers} layers of {self.hidden}, batch {self.batch}"


WIDE, NARROW = Size(), Size(hidden=(128, 128), layers=8)
STANDARD = {
    "maf": WIDE,
    "iaf": WIDE,
    "nsf": WIDE,
    "nsf-coupling": NARROW,
    "realnvp": NARROW,
    "glow": Size(features=3, side=32, hidden=(128, 128), layers=8, batch=16),
    "cnf": Size(hidden=(128, 128), layers=1),
}
QUICK = {  # for a look in a few minutes
    **dict.fromkeys(STANDARD, Size(hidden=(128, 128), layers=3, batch=256)),
    "glow": Size(features=3, side=16, hidden=(32, 32), layers=2, batch=8),
    "cnf": Size(features=8, hidden=(64, 64), layers=1, batch=256),
}
LARGE = {  # many rows of few features
    **dict.fromkeys(STANDARD, Size(features=8, hidden=(128, 128), layers=3, batch=65_536)),
    "glow": Size(features=3, side=8, hidden=(32, 32), layers=2, batch=2_048),
    "cnf": Size(features=8, hidden=(64, 64), layers=1, batch=65_536),
}
SIZES = {
    "standard": STANDARD,
    "quick": QUICK,
    "large": LARGE,
    "row": {family: size.but(batch=1) for family, size in STANDARD.items()},
}
LEVELS = 3  # of Glow
BOUND = 5.0  # of splines
TOLERANCE = 1e-5  # of solvers
