"""Features of the mesh: free of place, size and roll, and zero where nothing is known."""

import math

import pytest
import torch

from fer_lib.networks.mesh_reader import MeshReader


@pytest.fixture
def meshes(generator):
    """40 meshes about one base shape, and their scores."""
    base = torch.rand(478, 3, generator=generator) - 0.5
    mesh = 0.3 * base + 0.01 * torch.randn(40, 478, 3, generator=generator)
    return mesh, torch.rand(40, 52, generator=generator)


def test_features_are_standardised_where_they_were_learned(meshes):
    reader = MeshReader(10)
    reader.learn(*meshes)
    features, known = reader(*meshes)
    assert known.all()
    assert features.shape == (40, 66)
    assert features.mean(0).abs().max() < 1e-3
    torch.testing.assert_close(features[:, :62].std(0), torch.ones(62), rtol=0, atol=2e-3)


def test_place_size_and_roll_change_only_their_own_four_features(meshes):
    mesh, scores = meshes
    reader = MeshReader(10)
    reader.learn(mesh, scores)
    sine, cosine = math.sin(0.2), math.cos(0.2)
    turn = torch.tensor([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])
    moved = 1.3 * mesh @ turn.T + torch.tensor([0.05, -0.02, 0.3])
    before, after = reader(mesh, scores)[0], reader(moved, scores)[0]
    torch.testing.assert_close(after[:, :-4], before[:, :-4], rtol=0, atol=1e-2)
    change = ((after - before) * reader.spread)[:, -4:-2].mean(0)
    torch.testing.assert_close(change, torch.tensor([math.log(1.3), 0.2]), rtol=0, atol=1e-4)


def test_one_wrong_mesh_does_not_carry_the_answer_away(meshes):
    mesh, scores = meshes
    reader = MeshReader(10)
    reader.learn(mesh, torch.full_like(scores, 1e-6))
    wild = torch.cat([mesh[:1] + 5, torch.rand(1, 478, 3)])
    assert reader(wild, scores[:2])[0].abs().max() <= 6


def test_an_unknown_mesh_reads_as_the_average(meshes):
    mesh, scores = meshes
    reader = MeshReader(10)
    reader.learn(mesh, scores)
    holed = mesh.clone()
    holed[3, 7, 1] = torch.nan
    features, known = reader(holed, scores)
    assert known.tolist() == [k != 3 for k in range(40)]
    assert features[3].abs().max() == 0
    torch.testing.assert_close(features[4], reader(mesh, scores)[0][4])


def test_without_meshes_there_is_nothing_to_learn():
    with pytest.raises(ValueError, match="expected meshes"):
        MeshReader(4).learn(torch.full((3, 478, 3), torch.nan), torch.rand(3, 52))
