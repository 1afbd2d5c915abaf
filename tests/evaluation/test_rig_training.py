"""Both trainings from a store: what is learned from, pictures on the way, and going on."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from rig_store import CFG, SMALL, drawn_store, faces, head

from fer_lib.editing.buffers import BUFFERS
from fer_lib.evaluation import rig_faces, rig_training
from fer_lib.evaluation.rig_codes import CodeReader
from fer_lib.networks.checkpoints import Lineage
from fer_lib.networks.face_encoder import FaceEncoder, FaceEncoderSpec


@pytest.fixture(scope="module")
def reader():
    torch.manual_seed(0)
    spec = FaceEncoderSpec.of(head(), image_size=32, width=4, hidden=8, mesh_modes=0)
    network = FaceEncoder(spec)
    network.calibrate(faces(4))
    lineage = Lineage(frozenset(["other"]), frozenset(["bea"]), frozenset(["encoder"]))
    return CodeReader(network.eval(), lineage)


@pytest.fixture(scope="module")
def gathered(reader):
    return rig_faces.gather_faces(drawn_store(), head(), reader, replace(CFG, read_faces=4))


def test_every_face_is_there_with_true_and_with_wrong_codes(gathered):
    # Eight faces of two training people: true, four read, four led astray; each with an edit.
    assert [len(one) for one in gathered.alone] == [8, 4, 4]
    assert [len(one) for one in gathered.edits] == [8, 4, 4]
    assert all(one.known.all() for one in (*gathered.alone, *gathered.edits))
    lineage = gathered.lineage
    assert lineage.subjects == {"p0", "p1", "bea"}
    assert (lineage.stores, lineage.networks) == ({"abc", "other"}, {"encoder"})


def test_faces_are_learned_without_photographs_and_edits_with_them(gathered):
    for alone, edits in zip(gathered.alone, gathered.edits, strict=True):
        doubts = [one.buffers[:, BUFFERS["doubt"]] for one in (alone, edits)]
        assert (doubts[0] == 127).all()
        assert (doubts[1] < 127 / 4).all()
        assert (alone.source == alone.target).all()
        assert (edits.source != edits.target).all()
    # True codes tell the expressions of a person apart.
    doubt = gathered.edits[0].buffers[:, BUFFERS["doubt"]]
    assert doubt.flatten(1).any(1).all()


def test_photographs_have_codes_that_were_read_and_edits_there_and_back(reader):
    cfg = replace(CFG, read_faces=3)
    found = rig_faces.gather_faces(drawn_store(), head(), reader, cfg, drawn_store())
    *_, there, back = (one.take(torch.arange(3)) for one in found.edits)
    assert len(found.alone[-1]) == 3
    assert not there.known.any()
    assert torch.equal(there.images, there.buffers[:, BUFFERS["carried"]])
    assert back.known.all()
    assert torch.equal(back.images, found.alone[-1].take(torch.arange(3)).images)
    assert (back.sources - there.images).abs().max() <= 1 / 255 + 1e-6


def test_settings_decide_the_networks():
    editor = rig_training.fresh_editor(CFG)
    again = rig_training.fresh_editor(CFG)
    same = zip(editor.parameters(), again.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in same)
    assert editor.denoiser.spec.size == SMALL
    large = rig_training.fresh_editor(replace(CFG, image_size=128, widths=(32, 8, 8, 8)))
    assert large.denoiser.spec.attention == (16,)


def test_a_training_shows_pictures_goes_on_and_is_forgotten(workplace, gathered, reader):
    def preview(editor):
        weight = next(editor.parameters()).detach().numpy().ravel()[:48]
        return (255 * abs(weight) / abs(weight).max()).astype(np.uint8).reshape(1, 4, 4, 3)

    first = rig_training.fresh_editor(CFG)
    stage = rig_training.train_prior(first, gathered, head(), CFG, preview)
    assert list(stage.pictures) == [2, 4]
    assert (stage.pictures[4] == preview(first)).all()
    assert (stage.pictures[2] != stage.pictures[4]).any()
    assert stage.history["steps"].tolist() == [2, 4]
    # No photograph is carried, so there is nothing that it could lack.
    assert (stage.history["v_mse"] > 0).all()
    assert (stage.history["residual"] == 0).all()
    assert stage.file.is_file()
    again = rig_training.fresh_editor(replace(CFG, seed=0))
    once_more = rig_training.train_prior(again, gathered, head(), CFG, preview)
    assert once_more.file == stage.file
    same = zip(first.state_dict().values(), again.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in same)
    assert rig_training.training_file("prior", replace(CFG, seed=1), gathered.alone) != stage.file
    other_judges = replace(CFG, judges=("own",), test_pairs=3)
    assert rig_training.training_file("prior", other_judges, gathered.alone) == stage.file
    rig_training.forget(stage.file)
    assert not list(stage.file.parent.iterdir())


def test_stage_2_is_guided_and_changes_the_editor(workplace, gathered, reader):
    editor = rig_training.fresh_editor(CFG)
    before = [part.clone() for part in editor.parameters()]
    guide, lineage = rig_training.make_guide(drawn_store(), reader, CFG, gathered.lineage)
    assert {"p0", "p1", "p2", "bea"} == lineage.subjects
    assert len(lineage.networks - gathered.lineage.networks) == 1
    # A guide of one epoch is believed in nothing; what is trained is how it would pull.
    guide = replace(guide, shape_trust=torch.ones_like(guide.shape_trust),
                    psi_trust=torch.ones_like(guide.psi_trust))  # fmt: skip
    longer = replace(CFG, shape_steps=16)
    stage = rig_training.train_shape(editor, gathered, head(), guide, longer)
    assert (stage.history["expression"] > 0).any()
    assert {"v_mse", "shape", "expression", "background"} <= set(stage.history)
    assert (stage.history["residual"] > 0).all()
    changed = zip(editor.parameters(), before, strict=True)
    assert any(not torch.equal(a, b) for a, b in changed)
