"""Densities: flows, autoregressive models, mixtures, and what is made of them."""

from .anyorder import AnyOrder as AnyOrder
from .autoregressive import AutoregressiveModel as AutoregressiveModel
from .average import Average as Average
from .base import Density as Density
from .base import StandardNormal as StandardNormal
from .conditional import Bernoulli as Bernoulli
from .conditional import Categorical as Categorical
from .conditional import Conditional as Conditional
from .conditional import Gaussian as Gaussian
from .conditional import Mixture as Mixture
from .flow import Flow as Flow
from .guided import Guided as Guided
from .levels import CategoricalLevels as CategoricalLevels
from .levels import Levels as Levels
from .levels import LogisticLevels as LogisticLevels
from .mixed import Categories as Categories
from .mixed import Mixed as Mixed
from .mixture import GaussianMixture as GaussianMixture
from .pixelcnn import PixelCNN as PixelCNN
from .view import DensityView as DensityView
