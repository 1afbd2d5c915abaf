import base64
import io
import re
from html.parser import HTMLParser

import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st
from notebook_samples import make_lab, write_notebook
from PIL import Image

from fer_lib import report, runs
from fer_lib.report_index import newest_of_each, write_index

LOADERS = {"src", "srcset", "data", "poster", "background", "action", "xlink:href"}
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>"
BAR = "epochs:  50%|█████     | 1/2 [00:01<00:01,  1.0s/it]"
v4 = nbformat.v4


class Tags(HTMLParser):
    """Collect tags with their attributes, and the visible text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data


def loads(html):
    """Give everything a page would fetch when it is opened."""
    found = [
        value
        for tag, attributes in Tags(html).tags
        for name, value in attributes.items()
        if name in LOADERS or (tag in {"link", "image"} and name == "href")
    ]
    styles = re.findall(r"url\(\s*['\"]?([^)'\"]+)|@import\s+(\S+)", html)
    return [value for value in found + ["".join(pair) for pair in styles] if value[:5] != "data:"]


def png():
    buffer = io.BytesIO()
    Image.new("RGB", (4, 3), "red").save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def code_cell(source, *outputs, **metadata):
    return v4.new_code_cell(source, outputs=list(outputs), metadata=metadata)


def body_of(*cells):
    return report.notebook_body(v4.new_notebook(cells=list(cells)))


@pytest.fixture(autouse=True)
def place(workplace, monkeypatch):
    return make_lab(workplace, monkeypatch)


def executed_run(notebook="05_count_things", preset=None, status="finished", **more):
    run = runs.start(notebook, {"store": more.pop("store", "toy")}, preset=preset)
    cells = [
        v4.new_markdown_cell("# 05 Count things\n\n**Question.** How many\nare there?\n\nMore."),
        code_cell("x = 1\nx", v4.new_output("display_data", {"image/png": png()})),
    ]
    nbformat.write(v4.new_notebook(cells=cells), run.path / "executed.ipynb")
    run.close(status, **more)
    return run


def test_code_is_folded_and_outputs_are_not():
    body = body_of(code_cell("x = 1\nx", v4.new_output("execute_result", {"text/plain": "41"})))
    (details,) = re.findall(r"<details[^>]*>.*?</details>", body, re.DOTALL)
    assert details.startswith('<details class="source"><summary>2 lines of code</summary>')
    assert "41" not in details
    assert "41" in body
    assert not [tag for tag in Tags(body).tags if tag[0] == "details" and "open" in tag[1]]


def test_images_are_embedded():
    body = body_of(code_cell("show()", v4.new_output("display_data", {"image/png": png()})))
    ((_, image),) = [tag for tag in Tags(body).tags if tag[0] == "img"]
    assert image["src"].startswith("data:image/png;base64,")


@pytest.mark.parametrize(
    "html",
    [
        '<script src="https://cdn.example/x.js"></script>',
        '<link rel="stylesheet" href="https://cdn.example/x.css">',
        '<img src="https://cdn.example/x.png" alt="far away">',
        '<img srcset="https://cdn.example/x.png 2x">',
        '<iframe src="https://cdn.example"></iframe>',
        '<video src="https://cdn.example/x.mp4"></video>',
        '<svg><image href="https://cdn.example/x.png"/></svg>',
        '<svg><image xlink:href="https://cdn.example/x.png"/></svg>',
        '<object data="https://cdn.example/x"></object>',
        '<div background="https://cdn.example/x.png">x</div>',
        '<style>@import "https://cdn.example/x.css";</style>',
        '<p style="background: url(https://cdn.example/x.png)">x</p>',
    ],
)
def test_nothing_is_loaded_from_a_network(html):
    outputs = v4.new_output("display_data", {"text/html": html})
    body = body_of(v4.new_markdown_cell(html), code_cell("show()", outputs))
    assert loads(body) == []


def test_scripts_and_handlers_are_removed():
    output = v4.new_output("display_data", {"text/html": HOSTILE + '<b onclick="x()">kept</b>'})
    script = v4.new_output("display_data", {"application/javascript": "alert(3)"})
    tags = Tags(body_of(code_cell("show()", output, script))).tags
    assert not [tag for tag, _ in tags if tag == "script"]
    assert not [name for _, attributes in tags for name in attributes if name.startswith("on")]
    assert "b" in {tag for tag, _ in tags}


def test_widgets_are_left_out():
    widget = {"application/vnd.jupyter.widget-view+json": {"model_id": "m"}, "text/plain": "W0"}
    body = body_of(code_cell("bar()", v4.new_output("display_data", widget)))
    assert "W0" not in body
    assert "model_id" not in body


def test_streams_are_joined_and_bars_dropped():
    parts = [f"\r{BAR}", f"\r{BAR}\n", "a war", "ning\n"]
    outputs = [v4.new_output("stream", name="stderr", text=text) for text in parts]
    body = body_of(code_cell("work()", *outputs))
    assert "a warning" in body
    assert "epochs" not in body
    assert "output_stderr" not in body_of(code_cell("work()", *outputs[:2]))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\rb", "b"),
        ("a\r\nb", "a\nb"),
        ("one\rtwo\nthree\r", "two\nthree"),
        (f"x\n\r{BAR}\n\x1b[Ay", "x\ny"),
        ("50% | of | all", "50% | of | all"),
        ("", ""),
    ],
)
def test_a_stream_ends_as_a_terminal_would_show_it(text, shown):
    assert report.last_states(text) == shown


@given(st.text(alphabet=st.characters(blacklist_characters="\r\x1b|", codec="utf-8")))
def test_plain_text_passes_unchanged(text):
    assert report.last_states(text) == text


def test_the_report_page_stands_alone_and_links_back(place):
    run = executed_run(preset="quick")
    run.write_metrics({"score_frac": {"value": 0.5, "low": 0.25, "high": 0.75, "n": 8}})
    page = report.write_report(run)
    html = page.read_text()
    assert page == run.path / "report.html"
    assert loads(html) == []
    assert "default-src 'none'" in html
    assert 'href="../../report/index.html"' in html
    assert "plumbing, not evidence" in html
    assert "25.0 to 75.0" in html
    assert not [tag for tag, _ in Tags(html).tags if tag == "script"]
    evidence = report.write_report(executed_run(preset="evidence")).read_text()
    assert "plumbing" not in evidence


def test_a_run_without_executed_notebook_has_no_page():
    assert report.write_report(runs.start("05_count_things", {})) is None


def test_a_failed_run_shows_its_error_once(place):
    run = executed_run(status="failed", error="in cell In [4] with ValueError: <b>no</b>")
    notebook = nbformat.read(run.path / "executed.ipynb", as_version=4)
    tags = {"tags": ["papermill-error-cell-tag"]}
    notebook.cells.insert(0, v4.new_markdown_cell("An Exception was encountered", metadata=tags))
    anchor = '<span id="papermill-error-cell">stopped</span>'
    notebook.cells.append(v4.new_markdown_cell(anchor, metadata=tags))
    nbformat.write(notebook, run.path / "executed.ipynb")
    html = report.write_report(run).read_text()
    assert "An Exception" not in html
    assert 'id="papermill-error-cell"' in html
    assert "ValueError: &lt;b&gt;no&lt;/b&gt;" in html


def index_of(place):
    path = place / "results" / "report" / "index.html"
    return write_index(runs.every(), path).read_text()


def test_the_index_shows_question_numbers_and_link(place):
    run = executed_run(preset="quick")
    run.write_metrics({"score_frac": {"value": 0.5, "low": 0.25, "high": 0.75, "n": 800}})
    report.write_report(run)
    html = index_of(place)
    for part in ("How many are there?", "Count things", "50.0", "25.0 to 75.0", "n = 800", "toy"):
        assert part in html
    assert "plumbing, not evidence" in html
    link = f"../05_count_things/{run.run_id}/report.html"
    assert link in [attributes.get("href") for _, attributes in Tags(html).tags]
    assert (place / "results" / "report" / link).is_file()
    assert loads(html) == []


def test_the_index_embeds_the_headline_figure(place):
    run = executed_run()

    class Picture:
        def savefig(self, path, **options):
            Image.new("RGBA", (3000, 1000), (255, 0, 0, 128)).save(path)

    run.save_figure(Picture(), "faces")
    ((_, image),) = [tag for tag in Tags(index_of(place)).tags if tag[0] == "img"]
    kind, data = image["src"].split(",")
    assert kind == "data:image/jpeg;base64"
    assert Image.open(io.BytesIO(base64.b64decode(data))).width <= 880


def test_a_broken_figure_is_left_out(place):
    run = executed_run()

    class Broken:
        def savefig(self, path, **options):
            path.write_bytes(b"no picture")

    run.save_figure(Broken(), "faces")
    assert "<img" not in index_of(place)


def test_the_index_escapes_hostile_text(place):
    path = write_notebook(place / "notebooks", "05_count_things")
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[0].source = f"# 05 {HOSTILE}\n\n**Question.** {HOSTILE}"
    run = executed_run(store=HOSTILE, preset=HOSTILE, status="failed", error=HOSTILE)
    nbformat.write(notebook, run.path / "executed.ipynb")
    (run.path / "metrics.json").write_text('{"<script>x</script>": 1}')
    html = index_of(place)
    tags = Tags(html).tags
    assert not [tag for tag, _ in tags if tag in {"script", "img"}]
    assert not [name for _, attributes in tags for name in attributes if name.startswith("on")]
    assert "alert(1)" in Tags(html).text
    page = report.write_report(run).read_text()
    assert not [tag for tag, _ in Tags(page).tags if tag == "script"]


def test_a_failed_run_is_shown_as_failed(place):
    executed_run(status="failed", error="in cell In [4] with ValueError: wrong")
    html = index_of(place)
    assert "Stopped in cell In [4] with ValueError: wrong" in html
    assert '<article class="card failed' in html


def test_a_running_run_is_shown_as_not_finished(place):
    runs.start("05_count_things", {})
    assert "not finished" in index_of(place)


def test_the_newest_of_each_notebook_source_and_preset_is_shown():
    old, new = executed_run(), executed_run()
    photographs = executed_run(store="facial_expressions")
    synthetic = executed_run(store="synthetic")
    quick = executed_run(preset="quick", store="synthetic")
    first = executed_run("01_preprocess")
    shown = newest_of_each(runs.every())
    assert shown == [first, synthetic, quick, photographs, new]
    assert old not in shown


def test_an_index_without_runs_says_so(place):
    assert "No run yet" in index_of(place)
