"""Whether a fitted density can be trusted."""

from .importance_sampling import Importance as Importance
from .importance_sampling import bits_per_dim as bits_per_dim
from .importance_sampling import importance as importance
from .sampling_quality import SamplingQuality as SamplingQuality
from .sampling_quality import sampling_quality as sampling_quality
