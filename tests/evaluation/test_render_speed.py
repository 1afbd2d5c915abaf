from fer_lib.evaluation.render_speed import renders_per_s
from fer_lib.faces.embedded.head import embedded_head


def test_smaller_pictures_are_drawn_faster_and_every_round_counts(generator):
    model = embedded_head()
    small, large = (renders_per_s(model, size, 2, "cpu", generator) for size in (16, 256))
    assert small.value > 1.5 * large.value
    assert 0 < large.low <= large.value <= large.high and large.n == 6
