import pytest
import torch
from rig_samples import CONFIG, small_rig, some_pictures

from fer_lib.editing.rig_file import load_rig, make_rig, rig_config, save_rig
from fer_lib.networks.checkpoints import Lineage
from fer_lib.weights import load_network, save_network, state_hash

LINEAGE = Lineage(frozenset(["store"]), frozenset(["ada"]), frozenset(["encoder"]))


def test_a_rig_comes_back_as_it_was(tmp_path, generator):
    rig, path = small_rig(), tmp_path / "rig.safetensors"
    digest = save_rig(path, rig, LINEAGE, {"head": "ict", "stage": 2})
    saved = load_rig(path)
    assert saved.lineage == LINEAGE
    assert saved.about == {"head": "ict", "stage": 2}
    assert saved.recorded_sha256 == digest == state_hash(saved.editor.state_dict())
    assert saved.editor.schedule == rig.schedule
    images, buffers, edited = some_pictures(generator)
    assert torch.equal(
        saved.editor.edit(images, buffers, edited, steps=2),
        rig.edit(images, buffers, edited, steps=2),
    )


def test_a_rig_is_made_again_from_its_config():
    config = rig_config(make_rig(CONFIG))
    assert rig_config(make_rig(config)) == config


def test_a_code_of_another_length_is_refused():
    with pytest.raises(ValueError, match="expected a code of"):
        make_rig(CONFIG | {"code": {**CONFIG["code"], "length": 5}})


def test_files_that_are_no_rigs_are_refused(tmp_path):
    path = tmp_path / "rig.safetensors"
    save_rig(path, small_rig(), LINEAGE)
    state, config = load_network(path)
    for change, message in (
        ({"rig_editor": {"denoiser": {"depth": 3}}}, "expected a rig editor's config"),
        ({"lineage": ["ada"]}, "expected a lineage"),
    ):
        save_network(path, state, config | change)
        with pytest.raises(ValueError, match=message):
            load_rig(path)
    save_network(path, state, {"architecture": {}})
    with pytest.raises(ValueError, match="its config lacks"):
        load_rig(path)
    save_network(path, dict(list(state.items())[1:]), config)
    with pytest.raises(ValueError, match="missing"):
        load_rig(path)
