from pathlib import Path

import pytest

from fer_lib.pages import relative_link, render, show_number


@pytest.mark.parametrize(
    ("name", "entry", "label", "value", "unit"),
    [
        ("accuracy_frac", 0.8125, "accuracy", "81.2", "%"),
        ("accuracy_frac", 1, "accuracy", "100.0", "%"),
        ("landmark_error_pct_iod", 3.214, "landmark error", "3.21", "% of eye distance"),
        ("psnr_db", 28.41, "psnr", "28.4", "dB"),
        ("faces_per_s", 1234.6, "faces", "1,235", "/s"),
        ("speed_ratio", 0.0421, "speed", "0.0421", "×"),
        ("faces_found", 2560, "faces found", "2,560", ""),
        ("lpips", 0.0, "lpips", "0.00", ""),
        ("drift_px", -2.5, "drift", "-2.50", "px"),
        ("tiny", 1e-9, "tiny", "0.000000", ""),
        ("recall_frac", None, "recall", "not measured", ""),
        ("_frac", 0.5, "_frac", "50.0", "%"),
    ],
)
def test_a_number_is_written_with_its_unit(name, entry, label, value, unit):
    shown = show_number(name, entry)
    assert (shown.label, shown.value, shown.unit) == (label, value, unit)


def test_an_interval_has_the_digits_of_its_value():
    shown = show_number("error_deg", {"value": 3.2, "low": 3.0, "high": 3.456, "n": 1200})
    assert (shown.value, shown.interval, shown.n) == ("3.20", "3.00 to 3.46", "1,200")
    assert show_number("error_deg", {"value": 3.2, "n": 0}).n == "0"


def test_links_are_relative_and_quoted():
    link = relative_link(Path("/r/05_x/a b#c/report.html"), Path("/r/report"))
    assert link == "../05_x/a%20b%23c/report.html"


def test_templates_escape_their_values():
    html = render("index.html.j2", groups=[], now="<b>now</b>")
    assert "&lt;b&gt;now&lt;/b&gt;" in html
