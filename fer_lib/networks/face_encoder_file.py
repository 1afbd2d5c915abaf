"""Face encoders on disk: weights, spec and lineage in one file."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from fer_lib.networks.checkpoints import Lineage
from fer_lib.networks.face_encoder import FaceEncoder, FaceEncoderSpec
from fer_lib.weights import load_network, save_network, state_hash


def save_face_encoder(path: Path, network: FaceEncoder, lineage: Lineage) -> str:
    """Write an encoder with its spec and lineage.

    Args:
        path: the safetensors file to write.
        network: the encoder.
        lineage: what it has been in touch with.

    Returns:
        SHA-256 of its weights.
    """
    state = network.state_dict()
    digest = state_hash(state)
    config = {
        "face_encoder": asdict(network.spec),
        "lineage": lineage.as_json(),
        "weights_sha256": digest,
    }
    save_network(path, state, config)
    return digest


def load_face_encoder(path: Path) -> tuple[FaceEncoder, Lineage]:
    """Read what ``save_face_encoder`` wrote.

    Returns:
        The encoder in evaluation mode on the CPU, and its lineage.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no face encoder's, or its tensors do not fit its spec.
    """
    state, config = load_network(path)
    if "face_encoder" not in config or "lineage" not in config:
        raise ValueError(f"expected a face encoder in {path.name}, got another network")
    options = {k: tuple(v) if isinstance(v, list) else v for k, v in config["face_encoder"].items()}
    try:
        network = FaceEncoder(FaceEncoderSpec(**options))
        network.load_state_dict(state)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"expected weights that fit the spec of {path.name}: {error}") from error
    return network.eval(), Lineage.from_json(config["lineage"])
