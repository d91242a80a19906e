"""the published models that every command takes by name

With a name, all that is known of one. A model is fetched and imported into the storage root when a
command first needs it. A site adds its own in a YAML file of the same form, named by
$FACENET_MODEL_CATALOGUE.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING

from flows.cli.context import Context
from flows.cli.output import console, echo, print_catalogue

if TYPE_CHECKING:
    from facenet_core.models.catalogue import CatalogueModel

COMMON = ("config",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", nargs="?", help="one model, in full")
    parser.add_argument("--catalogue", metavar="FILE", help="models of your own")


def run(options: argparse.Namespace, context: Context) -> None:
    from facenet_core.models.catalogue import read_models

    models = read_models(options.catalogue)
    print_catalogue(models, options.name, context.json, _show_one, _show_all)


def _show_all(models: Mapping[str, CatalogueModel]) -> None:
    from rich.table import Table

    table = Table("name", "trained on", "dimensions", "LFW, published", "pixels", "forms")
    for name, model in models.items():
        table.add_row(
            name,
            model.trained_on.partition(";")[0],
            str(model.dimensions),
            "?" if model.accuracy is None else f"{model.accuracy:g}",
            _pixels(model),
            " ".join(file.name.rpartition(".")[2] for file in model.files),
        )
    for column in table.columns[2:4]:
        column.justify = "right"
    table.columns[0].no_wrap = True
    console().print(table)
    echo("`facenet models NAME` tells more; any command takes a NAME as its model.")


def _show_one(name: str, model: CatalogueModel) -> None:
    echo(f"{name}: {model.title}")
    echo(f"  {model.network}, {model.dimensions} dimensions, trained on {model.trained_on}")
    accuracy = "not stated" if model.accuracy is None else f"{model.accuracy:g}"
    echo(f"  accuracy on LFW, as published: {accuracy}")
    crops = model.alignment
    echo(f"  crops: {crops.image_size} pixels, margin {crops.margin}, rule {crops.crop}")
    echo(f"  pixels: {_pixels(model)}")
    echo(f"  licence: {model.licence}")
    echo(f"  home: {model.home}")
    echo(f"  obtain: {model.obtain}")
    for file in model.files:
        size = "" if file.bytes is None else f"{file.bytes:,} bytes, "
        echo(f"  {file.name}: {size}SHA-256 {file.sha256 or 'not known'}")
        for url in file.urls:
            echo(f"    {url}")


def _pixels(model: CatalogueModel) -> str:
    return "(x − 127.5)/128" if model.fixed_image_standardization else "image by image"
