"""The steps of notebook 06 on a few drawn faces."""

import dataclasses

import numpy as np
import pytest
import torch
from face_samples import drawn_store

from fer_lib.config import FaceEncoderConfig
from fer_lib.faces.embedded import embedded_head
from fer_lib.faces.params import FaceParams
from fer_lib.networks.face_estimate import Estimate
from fer_lib.training import face_study
from fer_lib.training.face_batches import KNOWN

CONFIG = FaceEncoderConfig(
    store="s", other_store="", photographs="", pairs="", pairs_root="", depth=18, width=4,
    image_size=32, hidden=16, mesh_modes=4, epochs=1, photo_epochs=1, batch_size=4,
    learning_rate=1e-3, pixel_steps=0, fitted_photographs=4, precision="fp32", seed=0, device="cpu",
)  # fmt: skip


@pytest.fixture(scope="module")
def store():
    drawn = drawn_store(subjects=4, photographs=3)
    drawn.card |= {"hash": "abc", "lineage": {"settings": {"model": "embedded"}}}
    drawn.index["split"] = ["train"] * 6 + ["val"] * 3 + ["test"] * 3
    return drawn


@pytest.fixture(scope="module")
def spec(store):
    return face_study.encoder_spec(embedded_head(), CONFIG, mesh=False)


def test_faces_are_loaded_with_and_without_a_mesh(store):
    faces = face_study.Faces.load(store, np.array([3, 0, 4]))
    assert torch.equal(faces.crops[1], torch.from_numpy(store.faces[0]))
    assert faces.has_mesh
    assert faces.people.tolist() == [0, 1, 0]
    bare = drawn_store(subjects=1, photographs=1)
    bare.extras = {}
    assert not face_study.Faces.load(bare, np.array([0])).has_mesh


def test_a_store_of_photographs_is_no_truth(store):
    assert face_study.head_of(store) == "embedded"
    photographs = drawn_store(subjects=1, photographs=1)
    photographs.card |= {"lineage": {}}
    photographs.__dict__["params"] = {}
    with pytest.raises(ValueError, match="name them PHOTOGRAPHS"):
        face_study.head_of(photographs)


def test_another_head_teaches_no_shape(store, spec):
    own = face_study.render_set(store, np.arange(6), spec)
    assert (own.truth.trust[:, :7] == 1).all()
    other = face_study.render_set(store, np.arange(6), dataclasses.replace(spec, model="ict"))
    known = dict(zip(KNOWN, other.truth.trust[0].tolist(), strict=True))
    assert known["shape"] == known["expression"] == known["landmarks"] == 0
    assert known["pose"] == known["light"] == known["mesh"] == 0.5


def test_photographs_shrink_to_the_renders_with_everything_that_lies_on_them(store, spec):
    faces = face_study.Faces.load(store, np.arange(3))
    params = FaceParams.from_numpy({k: v[:3] for k, v in store.params.items()})
    fits = Estimate(params, params, params, ("ok", "there is no mesh", "ok"))
    taken = face_study.photograph_set(store, faces, fits, spec, 32)
    assert taken.faces.shape == (2, 32, 32, 3)
    batch = taken.take([1])
    expected = (torch.from_numpy(store.landmarks[2]) + 0.5) / 2 - 0.5
    torch.testing.assert_close(batch.landmarks_px[0], expected)
    torch.testing.assert_close(batch.mesh[0, :, 2], faces.mesh[2, :, 2] / 2)
    torch.testing.assert_close(batch.params.camera, params.camera[2:3, :3].new_tensor(
        [[*params.camera[2, :3].tolist(), spec.distance_iod]]))  # fmt: skip
    assert abs(batch.faces.float().mean() - faces.crops[2].float().mean()) < 1


def test_an_encoder_is_learned_and_proposes(store, spec):
    trained = face_study.learn_from_renders(embedded_head(), spec, (store,), CONFIG)
    assert len(trained.history) == 1
    assert np.isfinite(trained.history["val_score"]).all()
    faces = face_study.Faces.load(store, np.arange(2))
    answer = face_study.proposer(trained.network)(faces.crops, faces.mesh, faces.scores)
    assert answer.params.shape.shape == (2, len(embedded_head().shape_names))
    lineage = face_study.lineage_of([store])
    assert lineage.subjects == {"s0", "s1"}
    assert lineage.stores == {"abc"}


def test_training_people_are_either_seen_several_times_or_once(store):
    several = face_study._training_people(store, several=True, limit=4, seed=0)
    assert len(several) == 4
    assert set(several.subjects) <= {"s0", "s1"}
    assert len(face_study._training_people(store, several=False, limit=4, seed=0)) == 0
