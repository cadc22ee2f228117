"""Execute the lessons and write each notebook beside its script:  python notebooks/execute.py

What depends on the machine or the moment is left out, so that a lesson executed anew changes only where its results do.
"""

import hashlib
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

LESSONS = sorted(Path(__file__).parent.glob("[0-9]*.py"))
METADATA = {
    "jupytext": {"formats": "ipynb,py:percent"},
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"file_extension": ".py", "name": "python", "pygments_lexer": "ipython3"},
}


def execute(script: Path) -> NotebookNode:
    """The script as a notebook with its results."""
    notebook = jupytext.read(script)
    for cell in notebook.cells:
        cell.id = hashlib.sha256(cell.source.encode()).hexdigest()[:8]  # stays when cells around it change
    NotebookClient(
        notebook,
        timeout=300,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        extra_arguments=["--log-level=ERROR"],
        resources={"metadata": {"path": str(script.parent)}},
    ).execute()
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        cell.metadata.pop("lines_to_next_cell", None)  # the script's affair
    nbformat.validate(notebook)
    return notebook


if __name__ == "__main__":
    for script in LESSONS:
        nbformat.write(execute(script), script.with_suffix(".ipynb"))
        print(script.with_suffix(".ipynb"))
