"""The code blocks of README and of the pages run as they stand, and print what they say.

The blocks of a page run from top to bottom in one namespace, in a temporary folder. What a statement with a
``print`` prints is compared with the comment behind it or below it; decimals may differ by a tenth. What is
special about a block says a comment before it, ``.. mark: value`` or, in README, ``<!-- mark: value -->``:

- ``not run: reason``: it is only shown;
- ``needs: module``: it runs where this module can be imported;
- ``sliced: n``: it runs with the first n samples of ``load_wordnet``, and what it prints is not compared.
"""

import ast
import contextlib
import io
import re
import tomllib
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from sklearn.utils import Bunch

from sklearn_slide import SlideClassifier, datasets

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md"] + [
    page
    for page in sorted((ROOT / "docs").rglob("*.rst"))
    if not {"auto_examples", "_build"} & set(page.parts)
]
# Scripts that measure or change what is inside, and may use private names; all others are what users copy.
INSIDE = re.compile(r"benchmark\w*|sampled_layers|dask_kills|measure_rows|once|serve")
PRIVATE = re.compile(r"\bsklearn_slide(?:\.\w+)*(?:\.| import )_(?!_)|\._model\b")
WIDTH = 80  # characters that fit beside the table of contents, in a window of 1280 pixels
SHOWN = ("bibtex", "text")  # what is no code
MARK = re.compile(r"^\s*(?:\.\.|<!--) (not run|needs|sliced): (.*?)(?: -->)?$")
DIRECTIVE = re.compile(r"^(\s*)\.\. (?:code-block|code|sourcecode)::\s*(\S*)$")
DECIMAL = re.compile(r"-?(?:\d+\.\d*|\.\d+)(?:e[-+]?\d+)?")  # whole numbers are to be the same


class Block(NamedTuple):
    """A code block: its page, the number of its first line, from 1, its language, its text and its marks."""

    page: Path
    line: int
    language: str
    text: str
    marks: dict

    def __str__(self):
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def read_blocks(page, text=None):
    """Return the code blocks of a page, in Markdown or reStructuredText."""
    lines = (page.read_text("utf-8") if text is None else text).split("\n")
    blocks, marks, i = [], {}, 0
    while i < len(lines):
        line, i = lines[i], i + 1
        mark = MARK.match(line)
        if mark:
            marks[mark[1]] = mark[2]
            continue
        if page.suffix == ".md":
            fence = re.match(r"^\s*```(\w*)", line)
            language, body = fence and fence[1], range(i, i)
            if fence:
                body = range(i, next(j for j in range(i, len(lines)) if lines[j].lstrip().startswith("```")))
                i = body.stop + 1
        else:
            language, body = _language(line), range(i, i)
            if language is not None:
                body = _indented(lines, i, len(line) - len(line.lstrip()))
                i = body.stop
        if language is not None:
            text = _dedented([lines[j] for j in body])
            blocks.append(Block(page, body.start + 1, language, text, marks))
        if line.strip():
            marks = {}
    return blocks


def _language(line):
    """Return the language of the block that begins behind a line, '' if it has none; None if none begins."""
    directive = DIRECTIVE.match(line)
    if directive:
        return directive[2]
    if line.rstrip().endswith("::") and not re.match(r"^\s*\.\. ", line):
        return ""
    return "pycon" if line.lstrip().startswith(">>> ") else None


def _indented(lines, start, indent):
    """Return the range of lines from start that are indented further, but for options of the directive."""
    while start < len(lines) and re.match(r"^\s+:[\w-]+:", lines[start]):
        start += 1
    stop = start
    while stop < len(lines) and (not lines[stop].strip() or len(re.match(r" *", lines[stop])[0]) > indent):
        stop += 1
    return range(start, stop)


def _dedented(lines):
    """Return lines as a text, without the indent that all of them have."""
    indent = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    return "\n".join(line[indent:] for line in lines)


BLOCKS = [block for page in PAGES for block in read_blocks(page)]


def why_not_run(block):
    """Return why a block is not run, or None."""
    if "not run" in block.marks:
        return block.marks["not run"]
    module = block.marks.get("needs")
    if module is not None:
        try:
            missing = find_spec(module) is None
        except ModuleNotFoundError:  # the package that the module would be in
            missing = True
        if missing:
            return f"needs {module}"
    return None


def said(block, statement, following):
    """Return what the comments behind and below a statement say, up to the line of the following one."""
    lines = block.text.split("\n")
    behind = lines[statement.end_lineno - 1][statement.end_col_offset :].strip()
    comments = [behind] if behind.startswith("#") else []
    for line in lines[statement.end_lineno : following - 1]:
        if not line.startswith("#"):
            break
        comments.append(line)
    return "\n".join(comment.removeprefix("#").removeprefix(" ") for comment in comments)


def agree(printed, expected):
    """Tell whether two texts are the same but for white space, and decimals that differ by a tenth."""
    texts = ["".join(DECIMAL.sub("#", text).split()) for text in (printed, expected)]
    one, other = ([float(number) for number in DECIMAL.findall(text)] for text in (printed, expected))
    return texts[0] == texts[1] and np.allclose(one, other, rtol=0.1, atol=0.05)


def run(block, namespace):
    """Run a block, statement by statement, and compare what is printed with what it says."""
    statements = ast.parse(block.text).body
    for statement, after in zip(statements, [*statements[1:], None], strict=True):
        module = ast.Module([statement], type_ignores=[])
        code = compile(ast.increment_lineno(module, block.line - 1), str(block.page), "exec")
        with contextlib.redirect_stdout(io.StringIO()) as output:
            exec(code, namespace)
        ast.increment_lineno(module, 1 - block.line)
        following = after.lineno if after is not None else block.text.count("\n") + 2
        expected = said(block, statement, following)
        if expected and "print(" in ast.unparse(statement) and "sliced" not in block.marks:
            where = f"{block.page.relative_to(ROOT)}:{block.line + statement.lineno - 1}"
            assert agree(output.getvalue(), expected), f"{where} prints\n{output.getvalue()}"


def slice_wordnet(monkeypatch, n):
    """Let load_wordnet return the first n samples."""
    load = datasets.load_wordnet

    def load_slice(*args, **kwargs):
        task = load(*args, **kwargs)
        return Bunch(**{**task, "data": task.data[:n], "target": task.target[:n]})

    monkeypatch.setattr(datasets, "load_wordnet", load_slice)


@pytest.mark.filterwarnings("error::UserWarning")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_blocks_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "__main__"}
    for block in read_blocks(page):
        if block.language == "python" and why_not_run(block) is None:
            with monkeypatch.context() as patch:
                if "sliced" in block.marks:
                    slice_wordnet(patch, int(block.marks["sliced"]))
                run(block, namespace)


@pytest.mark.parametrize("block", [block for block in BLOCKS if why_not_run(block) is not None], ids=str)
def test_block_that_is_only_shown(block):
    assert why_not_run(block).strip()
    if block.language == "python":
        ast.parse(block.text)
    pytest.skip(why_not_run(block))


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_block_is_known_and_narrow(block):
    if "not run" not in block.marks:
        assert block.language in ("python", "bash", *SHOWN), "run it, or mark it: .. not run: reason"
    if block.language == "python" and block.page.suffix == ".rst":
        wide = [line for line in block.text.split("\n") if len(line) > WIDTH]
        assert wide == []


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == "bash"], ids=str)
def test_files_of_commands_exist(block):
    for name in re.findall(r"(?<![\w/])(?:examples|docs|tests|sklearn_slide|\.ci)/[\w./*-]+", block.text):
        assert list(ROOT.glob(name)), f"{name} is not there"


@pytest.mark.parametrize(
    "script",
    [
        script
        for folder in ("docs", "examples")
        for script in sorted((ROOT / folder).rglob("*.py"))
        if not INSIDE.fullmatch(script.stem) and not {"_build", "auto_examples"} & set(script.parts)
    ],
    ids=lambda script: str(script.relative_to(ROOT)),
)
def test_script_uses_public_names(script):
    text = script.read_text("utf-8")
    assert [line for line in text.split("\n") if PRIVATE.search(line)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_page_uses_public_names(page):
    blocks = [block for block in BLOCKS if block.page == page and block.language in ("python", "pycon")]
    found = [line for block in blocks for line in block.text.split("\n") if PRIVATE.search(line)]
    if found:  # a page that shows private functions says so
        said = " ".join(page.read_text("utf-8").split())
        assert "The module is private, and may change with any version" in said, found


def test_clusters_take_any_free_port():
    # Without an address, and with None, a scheduler takes port 8787, and warns where another one has it.
    sources = [
        path
        for folder in ("docs", "examples", "sklearn_slide", "tests")
        for path in (ROOT / folder).rglob("*")
    ]
    starts = 0
    for path in sources:
        if path.suffix not in (".py", ".rst") or {"auto_examples", "_build"} & set(path.parts):
            continue
        text = path.read_text("utf-8")
        named = re.findall(r"dashboard_address\"?[:=] ?(None|\S+?)[,)}\n]", text)
        assert set(named) <= {'":0"'}, path
        if re.search(r"^[^`#]*(?:LocalCluster|Client)\((?:processes|n_workers|\*\*|1,)", text, re.M):
            starts += 1
            assert named, path
    assert starts > 5


# --- the reader of blocks itself


def test_private_names_are_found():
    for line in (
        "from sklearn_slide._lsh import draw_hasher",
        "from sklearn_slide import _first_weights",
        "import sklearn_slide._core.hashing as hashing",
        "    hasher = model._model.hasher",
    ):
        assert PRIVATE.search(line)
    for line in (
        "from sklearn_slide import LSH",
        "sklearn_slide.__version__",
        "from sklearn_slide.dask import X",
    ):
        assert not PRIVATE.search(line)


def test_blocks_are_found_with_their_marks():
    page = ROOT / "page.rst"
    text = """
Title
=====

.. not run: needs minutes

.. code-block:: python
    :caption: a name

    first = 1

    second = 2

- a list

  .. code-block:: docker

      ENV A=1

And a literal::

    third
"""
    one, two, three = read_blocks(page, text)
    assert (one.language, one.text.strip(), one.marks) == (
        "python",
        "first = 1\n\nsecond = 2",
        {"not run": "needs minutes"},
    )
    assert (two.language, two.text.strip(), two.marks) == ("docker", "ENV A=1", {})
    assert (three.language, three.text.strip()) == ("", "third")
    (block,) = read_blocks(ROOT / "page.md", "<!-- sliced: 20 -->\n```python\nx = 1\n```\ntext\n")
    assert block[1:] == (3, "python", "x = 1", {"sliced": "20"})


def test_what_is_printed_is_compared():
    def page(text):
        return Block(ROOT / "page.rst", 1, "python", text, {})

    run(page("print([1.04, 'a'])  # [1.0, 'a']\nprint('b\\nc')\n# b\n# c\n\nx = 1  # a remark"), {})
    for text in ("print('a')  # b", "print(2)  # 3", "for i in (1, 2):\n    print(i)\n# 1\n# 9"):
        with pytest.raises(AssertionError, match=r"page\.rst:1 prints"):
            run(page(text), {})


def test_links_of_readme_lead_to_files():
    text = (ROOT / "README.md").read_text("utf-8")
    targets = [target for target in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in target]
    assert len(targets) > 9
    assert [target for target in targets if not (ROOT / target).is_file()] == []


def test_pictures_of_readme_show_on_a_package_index():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    if "urls" not in project:
        pytest.skip("pyproject.toml names no address, from which pictures could come")
    pictures = re.findall(r"!\[[^]]*\]\(([^)]+)\)", (ROOT / "README.md").read_text("utf-8"))
    assert pictures
    assert all(picture.startswith("https://") for picture in pictures)


def fails_as_said(quote, call, *args):
    """Assert that a call fails as the page on troubleshooting quotes it."""
    page = " ".join((ROOT / "docs/user_guide/troubleshooting.rst").read_text("utf-8").split())
    assert f'"{quote}' in page
    with pytest.raises((ValueError, UserWarning)) as caught:
        call(*args)
    assert str(caught.value).startswith(quote)


@pytest.mark.filterwarnings("error::UserWarning")
def test_messages_are_those_of_the_page_on_troubleshooting():
    X, Y = np.eye(12), np.eye(12, 10, dtype=int)
    names = [f"label {i}" for i in range(12)]
    fit = SlideClassifier((4,), random_state=0).fit
    fails_as_said("X must be numbers, a row for each sample. Got text", fit, names, Y)
    quote = "y must be class labels, one for each sample, or a binary indicator"
    fails_as_said(quote, fit, X, [[name] for name in names])
    fails_as_said("y must be a binary indicator of labels, with no values but 0 and 1", fit, X, 2 * Y)
    fails_as_said("Most class labels in y hold ';'", fit, X, [f"{name};news" for name in names])
    quote = "y has 8 columns, one for each label, but the classifier has 10 labels"
    fails_as_said(quote, fit(X, Y).partial_fit, X, Y[:, :8])
    quote = "y holds 'x', which is not among the classes"
    fails_as_said(quote, fit(X, names).partial_fit, X, ["x", *names[1:]])
    changed = fit(X, names).set_params(loss="sigmoid")
    fails_as_said("loss cannot change after a first fit", changed.partial_fit, X, names)
