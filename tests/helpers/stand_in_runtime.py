"""A folder like that of onnxruntime-web, with nothing in it that runs."""

import json
from pathlib import Path

from smat.export.web.runtime import FILES, PACKAGE, VERSION


def stand_in_runtime(folder: Path, version: str = VERSION) -> Path:
    (folder / "dist").mkdir(parents=True)
    (folder / "package.json").write_text(json.dumps({"name": PACKAGE, "version": version}))
    for names in FILES.values():
        for name in names:
            (folder / "dist" / name).write_text(f"// {name}")
    return folder
