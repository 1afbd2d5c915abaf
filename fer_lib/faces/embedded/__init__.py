"""The embedded head: a linear 3-D face authored in code, with no data file."""

from fer_lib.faces.embedded.colours import sample_albedo
from fer_lib.faces.embedded.groom import Groom, sample_groom
from fer_lib.faces.embedded.head import embedded_head
from fer_lib.faces.embedded.shape_modes import sample_shape

__all__ = ["Groom", "embedded_head", "sample_albedo", "sample_groom", "sample_shape"]
