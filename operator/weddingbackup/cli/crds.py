"""`weddingbackup crds`: the definitions of our kinds, as this very program understands them."""

from pathlib import Path

import click

from weddingbackup.resources.schema import render

_DIRECTORY = click.Path(file_okay=False, path_type=Path)


@click.command()
@click.option("--output", type=_DIRECTORY, help="Write one file a kind into this directory.")
@click.option(
    "--check",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Fail where a file in this directory is not what would be written.",
)
def crds(output: Path | None, check: Path | None) -> None:
    """Write the CustomResourceDefinitions as YAML; to standard output where no directory is given."""
    if output and check:
        raise click.UsageError("give --output or --check, not both")
    files = render()
    if check:
        wrong = [
            name
            for name, text in files.items()
            if not (check / name).is_file() or (check / name).read_text() != text
        ]
        if wrong:
            raise click.ClickException(f"{check} differs in {', '.join(sorted(wrong))}")
    elif output:
        output.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (output / name).write_text(text)
    else:
        click.echo("---\n".join(files.values()), nl=False)
