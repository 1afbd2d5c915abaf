"""Codes read in pictures: by the encoder of a file, and by name from several stores."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from rig_store import CFG, drawn_store, faces, head

from fer_lib.evaluation import rig_codes
from fer_lib.labels import AU_COLUMNS
from fer_lib.networks.checkpoints import Lineage
from fer_lib.networks.face_encoder import FaceEncoder, FaceEncoderSpec, encode
from fer_lib.networks.face_encoder_file import save_face_encoder
from fer_lib.training.face_study import Faces


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    spec = FaceEncoderSpec.of(head(), image_size=32, width=4, hidden=8, mesh_modes=0)
    network = FaceEncoder(spec)
    network.calibrate(faces(4))
    return network.eval()


def test_a_reader_counts_itself_among_its_lineage(network, tmp_path):
    path = tmp_path / "encoder.safetensors"
    digest = save_face_encoder(path, network, Lineage(frozenset(["s"]), frozenset(["ann"])))
    reader = rig_codes.CodeReader.load(path)
    assert reader.lineage == Lineage(frozenset(["s"]), frozenset(["ann"]), frozenset([digest]))
    some = Faces.load(drawn_store(), np.arange(3))
    expected = encode(network, some.crops).params
    for read in (reader.drawn(some), reader.photographs(some)):
        assert torch.equal(read.shape, expected.shape)


def test_pictures_are_read_by_name_each_once(network):
    store = drawn_store()
    names = store.index["sample_id"].iloc[[5, 2, 5]].tolist()
    beta, units = rig_codes.read_pictures(network, [store], names)
    assert list(beta.index) == names[:2] == list(units.index)
    assert list(units.columns) == list(AU_COLUMNS)
    expected = encode(network, torch.from_numpy(store.faces[[5, 2]])).params.shape
    assert beta.to_numpy() == pytest.approx(expected.numpy(), abs=1e-5)
    with pytest.raises(ValueError, match="1 are in none"):
        rig_codes.read_pictures(network, [store], ["nobody"])


def test_the_second_encoder_has_another_backbone_and_leaves_the_first_alone(network):
    before = {name: part.clone() for name, part in network.state_dict().items()}
    rows = drawn_store().select(split="val")
    second = rig_codes.train_second_encoder(network, drawn_store(), rows, CFG)
    assert (network.spec.depth, second.spec.depth) == (18, 50)
    assert not second.training
    assert all(torch.equal(part, before[name]) for name, part in network.state_dict().items())


def test_the_second_encoder_learns_from_other_people_alone():
    store = drawn_store()
    own, rows = rig_codes.unmet_faces(store)
    assert own is store
    assert set(store.index["subject"].iloc[rows]) == {"p2"}
    others = drawn_store(people=6)
    found, rows = rig_codes.unmet_faces(store, others)
    assert found is others
    assert set(others.index["subject"].iloc[rows]) == {"p4", "p5"}
    with pytest.raises(ValueError, match="another SEED"):
        rig_codes.unmet_faces(others, store)
    # Made from another seed the same numbers are other people.
    others = drawn_store(people=5)
    others.card["lineage"]["settings"] = {"seed": 1}
    assert len(set(others.index["subject"].iloc[rig_codes.unmet_faces(store, others)[1]])) == 3


def test_the_guide_reads_pictures_alone_and_starts_from_the_first():
    torch.manual_seed(0)
    spec = FaceEncoderSpec.of(head(), image_size=32, width=4, hidden=8, mesh_modes=2)
    first = FaceEncoder(spec)
    first.calibrate(faces(4))
    before = {name: part.clone() for name, part in first.state_dict().items()}
    rows = drawn_store().select(split="val")
    guide = rig_codes.train_guide(first, drawn_store(), rows, replace(CFG, seed=2))
    assert (guide.spec.depth, guide.spec.mesh_modes) == (spec.depth, 0)
    assert not guide.training
    assert all(torch.equal(part, before[name]) for name, part in first.state_dict().items())
    # One epoch of one batch does not lead far.
    own = dict(guide.named_parameters())
    same = [name for name in own if name in before and own[name].shape == before[name].shape]
    gaps = [(own[name] - before[name]).abs().max() for name in same]
    assert 0 < max(gaps) < 0.1
