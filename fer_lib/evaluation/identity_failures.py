"""CSIM that means nothing, made on purpose, so that a report can show that it is caught.

Seed 002 reports a CSIM of 0.9991 to 0.9994 for every emotion: an untrained InceptionResnetV1 gives
that for strangers, and copies give it with any network.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import torch

from fer_lib.evaluation.embedders import make_embedder
from fer_lib.evaluation.identity import Embedder, Faces, cosine
from fer_lib.evaluation.identity_scores import IdentityMetric, copy_fault, measure_identity
from fer_lib.faces.align import ARCFACE_112
from fer_lib.networks.checkpoints import Lineage
from fer_lib.networks.identity import IDENTITY_NETS

_RANDOM_NETS = ("facenet_vggface2", "cosface_sphere20")
# Enough to see that a random network tells nobody apart; more only take longer.
_PEOPLE = 16
# Means alone are shown, without intervals.
_DRAWS = 1


def failure_table(faces: Faces, embedder: Embedder, *, seed: int = 0) -> pd.DataFrame:
    """Measure an embedder rightly, and then with every mistake that is easily made.

    Args:
        faces: two pictures of each of some 30 people; more only take longer.
        embedder: a sound one.
        seed: of random weights and of the self-tests.

    Returns:
        ``what`` was measured, ``mu_genuine`` and ``mu_impostor`` (mean cosine of one person and of
        strangers, such as a report without self-tests would print), ``verdict`` (``valid``, or
        ``not valid: `` and every reason). The first row is the one without a mistake.

    Raises:
        ValueError: a person is unknown, or there are no two persons with two pictures.
    """
    pairs = _pairs_of_people(faces.subjects)
    sound = measure_identity(embedder, faces, draws=_DRAWS, seed=seed)
    rows = [_measured(embedder.spec.name, sound)]
    for what, candidate, pictures in _mistaken(faces, embedder, seed):
        metric = measure_identity(candidate, pictures, draws=_DRAWS, seed=seed)
        rows.append(_measured(what, metric))
    rows += _misused(sound, faces, pairs)
    return pd.DataFrame(rows, columns=["what", "mu_genuine", "mu_impostor", "verdict"])


def _mistaken(faces: Faces, embedder: Embedder, seed: int) -> Iterator[tuple[str, Embedder, Faces]]:
    chosen = np.isin(faces.subjects, np.unique(faces.subjects)[:_PEOPLE])
    few = Faces(faces.images[chosen], faces.five[chosen], faces.subjects[chosen])
    for name in _RANDOM_NETS:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            network = IDENTITY_NETS[name].build()
        yield f"{name} with random weights", make_embedder(name, network), few
    whole = np.float32(ARCFACE_112.points) * (faces.images.shape[1] / ARCFACE_112.height)
    unaligned = Faces(faces.images, np.tile(whole, (len(faces.five), 1, 1)), faces.subjects)
    yield f"{embedder.spec.name}, whole pictures not aligned", embedder, unaligned
    swapped = Faces(faces.images[..., ::-1], faces.five, faces.subjects)
    yield f"{embedder.spec.name}, BGR for RGB", embedder, swapped


def _pairs_of_people(subjects: np.ndarray) -> np.ndarray:
    """Find the first and last picture `(P, 2)` of everyone who has two."""
    people = pd.Series(range(len(subjects))).groupby(subjects).agg(["first", "last"])
    pairs = people[people["first"] < people["last"]].to_numpy()
    if len(pairs) < 2:
        raise ValueError(f"expected two persons with two pictures each, got {len(pairs)}")
    return pairs


def _misused(
    metric: IdentityMetric, faces: Faces, pairs: np.ndarray
) -> Iterator[dict[str, object]]:
    """A sound embedder, but copies for edits, or a mean over people before the cosine."""
    name = metric.embedder.spec.name
    first, last = metric.embedder.embed(faces)[pairs.T]
    strangers = first, np.roll(first, 1, axis=0)
    yield _scored(f"{name}, source copied for an edit", metric, (first, first), strangers)
    means = _mean(first), _mean(last)
    groups = _mean(first[::2]), _mean(first[1::2])
    yield _scored(f"{name}, averaged over people before the cosine", metric, means, groups)


def _mean(embeddings: np.ndarray) -> np.ndarray:
    return np.nanmean(embeddings, axis=0, keepdims=True)


def _scored(
    what: str,
    metric: IdentityMetric,
    edits: tuple[np.ndarray, np.ndarray],
    strangers: tuple[np.ndarray, np.ndarray],
) -> dict[str, object]:
    names = [str(place) for place in range(len(edits[0]))]
    try:
        fault = copy_fault(metric.compare(*edits, names, subjects=(), lineage=Lineage()))
    except ValueError as error:
        fault = str(error)
    genuine, impostor = (float(np.nanmean(cosine(*pair))) for pair in (edits, strangers))
    return _row(what, genuine, impostor, [fault] if fault else [])


def _measured(what: str, metric: IdentityMetric) -> dict[str, object]:
    known = metric.calibration
    genuine, impostor = (
        (np.nan, np.nan) if known is None else (known.genuine.mean(), known.impostor.mean())
    )
    return _row(what, genuine, impostor, metric.faults)


def _row(what: str, genuine: float, impostor: float, faults: Sequence[str]) -> dict[str, object]:
    verdict = f"not valid: {'; '.join(faults)}" if faults else "valid"
    return {"what": what, "mu_genuine": genuine, "mu_impostor": impostor, "verdict": verdict}
