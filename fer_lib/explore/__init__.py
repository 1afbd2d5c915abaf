"""Looking into faces and into networks, face by face, in JupyterLab."""

from fer_lib.explore.edit_studio import EditStudio, edit_studio
from fer_lib.explore.explanation import FaceReading, explain_face, read_face, read_sample
from fer_lib.explore.face import FaceExplorer, face_explorer
from fer_lib.explore.face_controls import FaceStart
from fer_lib.explore.face_edits import EditBench, EditStart, EditWish, photograph_reader
from fer_lib.explore.fusion import FusionExplorer, fusion_explorer
from fer_lib.explore.photograph import crop_photograph
from fer_lib.explore.samples import right_and_wrong
from fer_lib.plots.saliency import explanation_figure

__all__ = [
    "EditBench",
    "EditStart",
    "EditStudio",
    "EditWish",
    "FaceExplorer",
    "FaceReading",
    "FaceStart",
    "FusionExplorer",
    "crop_photograph",
    "edit_studio",
    "explain_face",
    "explanation_figure",
    "face_explorer",
    "fusion_explorer",
    "photograph_reader",
    "read_face",
    "read_sample",
    "right_and_wrong",
]
