import pytest
import torch
from rig_samples import knowing_rig, small_rig, some_pictures

from fer_lib.editing.rig import mirror_buffers


@pytest.mark.parametrize("method", ["ddim", "dpm++"])
def test_an_edit_that_changes_no_buffer_gives_the_photographs_back(generator, method):
    images, buffers, _ = some_pictures(generator)
    same = small_rig().edit(images, buffers, buffers.clone(), steps=3, method=method)
    assert torch.allclose(same, images, atol=1e-5)


def test_a_rig_that_knows_the_answer_draws_it_and_keeps_the_rest(generator):
    images, buffers, edited = some_pictures(generator)
    plain = knowing_rig().edit(images, buffers, edited, steps=10, restore=False)
    assert torch.allclose(plain, edited[:, 6:9].clamp(-1, 1), atol=1e-4)
    kept = knowing_rig().edit(images, buffers, edited, steps=10)
    # The middle is drawn anew; far from it stands the photograph, although no buffer shows it.
    assert torch.allclose(kept[..., 7:9, 7:9], edited[:, 6:9, 7:9, 7:9].clamp(-1, 1), atol=1e-4)
    assert torch.allclose(kept[..., :4, :], images[..., :4, :], atol=1e-4)


def test_several_edits_share_one_inversion(generator):
    images, buffers, edited = some_pictures(generator)
    rig = knowing_rig()
    edits = rig.edit_many(images, buffers, [edited, buffers, -edited], steps=7)
    # Up with a correction, once down for what is lost, once down for each edit.
    assert rig.denoiser.asked == 7 * (2 + 1 + 3)
    alone = knowing_rig().edit(images, buffers, edited, steps=7)
    assert torch.equal(edits[0], alone)


@pytest.mark.parametrize("noise", ["invert", "seeds"])
def test_a_photograph_is_edited_alike_alone_and_among_others(generator, noise):
    images, buffers, edited = some_pictures(generator)
    rig = small_rig()
    seeds = [4, 5, 6]
    among = rig.edit(
        images, buffers, edited, steps=3, noise=seeds if noise == "seeds" else noise
    )
    for k in range(3):
        alone = rig.edit(
            images[k : k + 1], buffers[k : k + 1], edited[k : k + 1], steps=3,
            noise=seeds[k : k + 1] if noise == "seeds" else noise,
        )  # fmt: skip
        assert torch.allclose(alone[0], among[k], atol=1e-5)


def test_seeds_decide_the_picture(generator):
    images, buffers, edited = some_pictures(generator)
    rig = small_rig()
    first, again, other = (
        rig.edit(images, buffers, edited, steps=2, noise=seeds)
        for seeds in ([1, 2, 3], [1, 2, 3], [1, 2, 4])
    )
    assert torch.equal(first, again)
    assert torch.equal(first[:2], other[:2])
    assert not torch.allclose(first[2], other[2], atol=1e-3)


def test_blending_leaves_what_is_outside_both_faces(generator):
    images, buffers, edited = some_pictures(generator)
    blended = small_rig().edit(images, buffers, edited, steps=2, noise=[1, 2, 3], blend=True)
    assert torch.equal(blended[..., 0, :], images[..., 0, :])
    assert not torch.allclose(blended[..., 8, 8], images[..., 8, 8], atol=1e-3)


def test_the_edit_of_a_mirrored_photograph_is_the_mirrored_edit(generator):
    images, buffers, edited = some_pictures(generator)
    mirrored = images.flip(3), mirror_buffers(buffers), mirror_buffers(edited)
    rig, options = small_rig(), {"steps": 3, "blend": True}
    one, other = (rig.edit(*faces, both_sides=True, **options)
                  for faces in ((images, buffers, edited), mirrored))  # fmt: skip
    assert torch.allclose(other, one.flip(3), atol=1e-5)
    assert not torch.allclose(rig.edit(*mirrored, **options), one.flip(3), atol=1e-3)


def test_editing_happens_in_evaluation_mode_and_leaves_the_mode_alone(generator):
    images, buffers, edited = some_pictures(generator)
    rig = knowing_rig().train()
    rig.edit(images, buffers, edited, steps=2)
    assert rig.training
    assert rig.denoiser.modes == {False}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"noise": [1, 2]}, "3 seeds, one per photograph"),
        ({"noise": "random"}, "invert or 3 seeds"),
        ({"method": "euler"}, "ddim or dpm"),
    ],
)
def test_what_cannot_be_is_refused(generator, options, message):
    images, buffers, edited = some_pictures(generator)
    with pytest.raises(ValueError, match=message):
        knowing_rig().edit(images, buffers, edited, steps=2, **options)
