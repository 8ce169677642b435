"""What is expected of a data set, checked by Great Expectations, with its Data Docs."""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import great_expectations as gx
import pandas as pd
from great_expectations.data_context.types.base import ProgressBarsConfig
from great_expectations.expectations.row_conditions import Column

from tasks.inputs.manifest import has_val

gxe: Any = gx.expectations  # a type checker does not see its names

MOST_NAMED = 5
"""Files named in a failure's line; the others are counted."""

_MEASURED = ("width", "height", "mode", "sha256", "mean", "std")
_ASSET = re.compile(r"<script\b.*?</script>|<link\b[^>]*>|<img\b[^>]*>", re.DOTALL | re.IGNORECASE)
_STYLE = """<style>
body { font: 16px/1.5 system-ui, sans-serif; margin: 1rem auto; max-width: 60rem; padding: 0 1rem;
  color-scheme: light dark }
table { border-collapse: collapse } td, th { border-bottom: 1px solid #8888; padding: .3rem .6rem; text-align: left }
button, form, [role=dialog], .modal, .ge-navigation-sidebar-container { display: none }
</style>
"""


@dataclass(frozen=True)
class Outcome:
    """One expectation and how it went."""

    description: str
    """What was expected, in words."""
    type: str
    column: str
    success: bool
    failing: tuple[str, ...]
    """Paths (or classes) that fail."""
    remedy: str


def image_expectations(images: pd.DataFrame, num_classes: int, image_size: int | None) -> list[Any]:
    """What must hold for every image; sizes and modes must be those most images have, unless the size was given."""
    splits = ("train", "val", "test") if has_val(images) else ("train", "test")
    return [
        *_listing_expectations(num_classes, splits),
        *(
            _expect(
                gxe.ExpectColumnValuesToNotBeNull,
                c,
                f"{c} is known of every image that decodes",
                "mend the file",
                row_condition=Column("error").is_null(),
            )
            for c in _MEASURED
        ),
        *_shape_expectations(images, image_size),
        *_content_expectations(splits),
    ]


def _listing_expectations(num_classes: int, splits: Sequence[str]) -> list[Any]:
    """What must hold for the list of images: complete, nothing twice, labels of the classes, files that decode."""
    return [
        *(
            _expect(gxe.ExpectColumnValuesToNotBeNull, c, f"every image has a {c}", "mend the data set")
            for c in ("path", "split", "label", "decodes")
        ),
        _expect(
            gxe.ExpectColumnValuesToBeInSet,
            "split",
            f"every image is in {', '.join(splits[:-1])} or {splits[-1]}",
            "mend the data set",
            value_set=list(splits),
        ),
        _expect(gxe.ExpectColumnValuesToBeUnique, "path", "every image is listed once", "remove the repetition"),
        _expect(gxe.ExpectColumnValuesToBeNull, "error", "every image decodes", "replace or remove the file"),
        _expect(
            gxe.ExpectColumnValuesToBeBetween,
            "label",
            f"every label is in 0..{num_classes - 1}",
            "correct the label",
            min_value=0,
            max_value=num_classes - 1,
        ),
    ]


def _shape_expectations(images: pd.DataFrame, image_size: int | None) -> list[Any]:
    """One width, one height and one mode for all images."""
    width, height = (image_size or _most_common(images[side], 0) for side in ("width", "height"))
    mode = _most_common(images["mode"], "RGB")
    resize = "resize it, or set data.image_size"
    return [
        _expect(gxe.ExpectColumnValuesToBeInSet, column, f"every image {has}", remedy, value_set=[value])
        for column, value, has, remedy in (
            ("width", width, f"is {width} pixels wide", resize),
            ("height", height, f"is {height} pixels high", resize),
            ("mode", mode, f"has mode {mode}", "convert it"),
        )
    ]


def _content_expectations(splits: Sequence[str]) -> list[Any]:
    """Sound hashes, no constant image, no image that is in two splits."""
    copied = "no test image is also in train" if "val" not in splits else "no image is in two of train, val and test"
    return [
        _expect(
            gxe.ExpectColumnValuesToMatchRegex,
            "sha256",
            "every hash is 64 hex digits",
            "mend the data set",
            regex="^[0-9a-f]{64}$",
        ),
        _expect(
            gxe.ExpectColumnValuesToBeBetween,
            "std",
            "no image is constant",
            "replace or remove it",
            min_value=0,
            strict_min=True,
        ),
        _expect(
            gxe.ExpectColumnValuesToBeNull,
            "twin",
            copied,
            "remove one of the two, or set data.drop_copies",
        ),
    ]


def class_expectations(classes: pd.DataFrame, min_images: int) -> list[Any]:
    """What must hold for every class."""
    held = [(split, min(1, min_images), "image") for split in ("test", "val") if f"num_{split}" in classes]
    return [
        _expect(gxe.ExpectColumnValuesToBeUnique, "class", "every class has its own name", "rename one"),
        *(
            _expect(
                gxe.ExpectColumnValuesToBeBetween,
                f"num_{split}",
                f"every class has at least {fewest} {unit} in {split}",
                "add images, or remove the class",
                min_value=fewest,
            )
            for split, fewest, unit in (("train", min_images, "images"), *held)
        ),
    ]


def check(
    images: pd.DataFrame, classes: pd.DataFrame, image_suite: Sequence[Any], class_suite: Sequence[Any], docs: Path
) -> list[Outcome]:
    """Run both suites, each through a checkpoint, and write Data Docs to `docs`, which load nothing from elsewhere."""
    logging.getLogger("great_expectations").setLevel(logging.WARNING)
    logging.getLogger("great_expectations.data_context.types.base").setLevel(logging.WARNING)  # has a level of its own
    context: Any = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    store = {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(docs.resolve())}
    site = {
        "class_name": "SiteBuilder",
        "show_how_to_buttons": False,
        "store_backend": store,
        "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
    }
    context.add_data_docs_site("local", site)
    outcomes = _run(context, "images", images, "path", image_suite) + _run(
        context, "classes", classes, "class", class_suite
    )
    _make_local(docs)
    return outcomes


def explain(outcome: Outcome, table: pd.DataFrame, key: str, unit: str) -> str:
    """One line: what was expected, how many fail, which (up to `MOST_NAMED`), what to do."""
    values = table.set_index(key, drop=False)[outcome.column]
    shown = [
        f"{name} ({' '.join(str(values.get(name)).split())})" if outcome.column != key else name
        for name in outcome.failing[:MOST_NAMED]
    ]
    more = len(outcome.failing) - len(shown)
    names = ", ".join(shown) + (f" and {more} more" if more > 0 else "")
    return f"{outcome.description}: {len(outcome.failing)} of {len(table)} {unit} fail: {names}; {outcome.remedy}."


def _expect(kind: Any, column: str, description: str, remedy: str, **arguments: Any) -> Any:
    return kind(column=column, description=description, meta={"remedy": remedy}, **arguments)


def _run(context: Any, name: str, table: pd.DataFrame, key: str, suite: Sequence[Any]) -> list[Outcome]:
    batch = context.data_sources.add_pandas(name).add_dataframe_asset(name).add_batch_definition_whole_dataframe("all")
    expectations = context.suites.add(gx.ExpectationSuite(name=name, expectations=list(suite)))
    definition = context.validation_definitions.add(gx.ValidationDefinition(name=name, data=batch, suite=expectations))
    actions: Any = gx.checkpoint
    checkpoint = gx.Checkpoint(
        name=name,
        validation_definitions=[definition],
        actions=[actions.UpdateDataDocsAction(name="docs", site_names=["local"])],
        result_format={"result_format": "COMPLETE", "unexpected_index_column_names": [key]},
    )
    run = context.checkpoints.add(checkpoint).run(batch_parameters={"dataframe": table})
    return [_outcome(result, key) for validation in run.run_results.values() for result in validation.results]


def _outcome(result: Any, key: str) -> Outcome:
    config = result.expectation_config
    if not result.success and "unexpected_index_list" not in result.result:
        # the expectation itself broke: never pass in silence
        raise RuntimeError(
            f"{config.type} on '{config.kwargs.get('column')}' could not be evaluated: {result.exception_info}"
        )
    failing = tuple(str(row[key]) for row in result.result.get("unexpected_index_list") or ())
    return Outcome(
        config.description, config.type, config.kwargs["column"], bool(result.success), failing, config.meta["remedy"]
    )


def _most_common(values: pd.Series, default: Any) -> Any:
    counts = values.value_counts()
    return default if counts.empty else counts.index[counts == counts.max()].sort_values().tolist()[0]


def _make_local(docs: Path) -> None:
    """Take scripts, images and styles out of the pages, add a small style, and give them an index that needs no script.

    As they come, the pages load a dozen files from public hosts, one of them with a time stamp on
    every view; the index is an empty table without them.
    """
    shutil.rmtree(docs / "static")
    pages = sorted(p for p in docs.rglob("*.html") if p.name != "index.html")
    for page in pages:
        page.write_text(_ASSET.sub("", page.read_text()).replace("</head>", f"{_STYLE}</head>", 1))
    links = "\n".join(
        f'<li><a href="{p.relative_to(docs)}">{p.relative_to(docs).parts[0]}: {p.stem}</a></li>' for p in pages
    )
    head = (
        f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Data Docs</title>\n{_STYLE}'
    )
    (docs / "index.html").write_text(
        f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body><h1>Data'
        f" Docs</h1>\n<ul>\n{links}\n</ul></body></html>\n"
    )
