"""The stand-in: the RGB network of notebook 02 as a judge, until real judges are there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from fer_lib.evaluation.judge_spec import JudgeSpec
from fer_lib.evaluation.judges import Judge
from fer_lib.networks.branches import RgbArm
from fer_lib.networks.checkpoints import load_recogniser
from fer_lib.networks.landmark_fusion import LandmarkFusion
from fer_lib.weights import state_hash

STAND_IN_NAME = "stand-in: RGB net of 02"


def load_stand_in(path: Path, device: torch.device | str = "cpu") -> Judge:
    """Make a judge of the RGB network that notebook 02 trained.

    Args:
        path: a checkpoint of the RGB branch or of the fusion, whose RGB branch is then taken.
        device: where it answers.

    Returns:
        The judge, named a stand-in.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds neither of the two.
    """
    found = load_recogniser(path)
    whole = found.network
    network = whole.rgb if isinstance(whole, LandmarkFusion) else whole
    if not isinstance(network, RgbArm):
        raise ValueError(
            f"expected an RGB branch or a fusion in {path.name}, found another network"
        )
    # Of a fusion only the whole was recorded: its branch is as recorded if the whole is.
    intact = state_hash(whole.state_dict()) == found.recorded_sha256
    spec = JudgeSpec(
        name=STAND_IN_NAME,
        image_size=network.config["image_size"],
        crop="tight",
        emotions=found.emotions,
        weights_sha256=state_hash(network.state_dict()) if intact else found.recorded_sha256,
        licence="that of its training data",
        # An edit set may name the fusion that guided it.
        lineage=replace(found.lineage, networks=found.lineage.networks | {found.recorded_sha256}),
        stand_in=True,
    )
    return Judge(spec, network, lambda images: network(images).logits.softmax(dim=1), device)
