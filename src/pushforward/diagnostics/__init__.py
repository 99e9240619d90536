"""Whether a fitted density can be trusted."""

from ..transforms.tails import tail_index as tail_index
from .calibrated import Calibration as Calibration
from .calibrated import calibration as calibration
from .importance_sampling import Importance as Importance
from .importance_sampling import bits_per_dim as bits_per_dim
from .importance_sampling import importance as importance
from .local import LocalTest as LocalTest
from .local import local_test as local_test
from .sampling_quality import Closeness as Closeness
from .sampling_quality import SamplingQuality as SamplingQuality
from .sampling_quality import closeness as closeness
from .sampling_quality import sampling_quality as sampling_quality
from .typical import Typicality as Typicality
from .typical import typical as typical
