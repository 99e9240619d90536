"""Parameter networks of transforms and densities, masked or plain, and fields of continuous flows."""

from .attention import CausalTransformer as CausalTransformer
from .conv import ConvNet as ConvNet
from .conv import ResidualConvNet as ResidualConvNet
from .encoders import DeepSet as DeepSet
from .encoders import Encoder as Encoder
from .encoders import Scaled as Scaled
from .encoders import SetAttention as SetAttention
from .encoders import padded as padded
from .field import ConvField as ConvField
from .field import FourierField as FourierField
from .field import MLPField as MLPField
from .field import ResidualField as ResidualField
from .field import SquashField as SquashField
from .graph import GraphMLP as GraphMLP
from .lipschitz import LipschitzMLP as LipschitzMLP
from .made import MADE as MADE
from .mlp import MLP as MLP
from .pixelcnn import PixelNet as PixelNet
from .positions import PositionNet as PositionNet
from .series import ImageEncoder as ImageEncoder
from .series import MixedRow as MixedRow
from .series import Recurrent as Recurrent
from .series import SeriesConv as SeriesConv
from .subset import SubsetNet as SubsetNet
from .trees import Trees as Trees
