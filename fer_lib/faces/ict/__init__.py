"""ICT-FaceKit (Li et al. 2020, MIT) as a `MorphableModel`: its own files, read once, kept small.

The archive holds one OBJ per mode; a mode is its file minus the neutral one. Skin, hair and eyes
are painted here, since the files bring none.
"""

from fer_lib.faces.ict.groom import IctGroom, sample_albedo, sample_groom
from fer_lib.faces.ict.head import ict_head, sample_shape

__all__ = ["IctGroom", "ict_head", "sample_albedo", "sample_groom", "sample_shape"]
