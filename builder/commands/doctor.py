"""`builder doctor`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from builder.commands import options

if TYPE_CHECKING:
    from builder.doctor import Advice


@click.command()
@click.option(
    "--target", callback=options.not_empty, metavar="T", help="Say which of NVIDIA's containers can run it."
)
@click.option("--triton", metavar="TAG", help="Ask for this container, such as 26.07.")
@click.option("--gpu", callback=options.not_empty, metavar="GPU", help="For this GPU, such as h200.")
@options.driver
@options.as_json
def command(
    target: str | None, triton: str | None, gpu: str | None, driver: str | None, as_json: bool
) -> None:
    """Say what is installed, which targets and servers can run here, and how to add what is missing.

    With --target, say which container the target would be served in, and why not in a newer one.
    """
    from builder import doctor as diagnosing

    if target is not None:
        _advise(diagnosing.advise(target, triton, gpu, driver), as_json)
        return
    if triton or gpu or driver:
        raise click.UsageError("--triton, --gpu and --driver are asked of a --target")
    found = diagnosing.diagnose()
    if as_json:
        options.print_json([vars(row) for row in found])
    else:
        from builder.printing import catalogues

        catalogues.show_diagnosis(found)
    sys.exit(0 if all(row.ready for row in found if row.needed) else 1)


def _advise(found: Advice, as_json: bool) -> None:
    from builder.printing import catalogues

    if as_json:
        options.print_json(catalogues.advice_to_json(found))
    else:
        catalogues.show_advice(found)
