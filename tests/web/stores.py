"""A store of tiny models and a look-alike of the hubs, for pages that show what a machine has."""
import importlib.util
import json
import os
import subprocess

from conftest import ROOT, http


def load(name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


tiny = load("tiny", ROOT / "tests/http/tiny.py")
hubs = load("hubs", ROOT / "tests/cli/hubs.py")


class Store:
    def __init__(self, root):
        self.root, self.hub, self.made = root, hubs.Hubs(), []
        self.env = {**os.environ, "SAMPAN_STORE": str(root / "store"), "HF_HOME": str(root), "HF_TOKEN": "", "HF_ENDPOINT": self.hub.url,
                    "MODELSCOPE_ENDPOINT": self.hub.url, "MODELSCOPE_API_TOKEN": ""}

    def put(self, name, context=1 << 20):
        """A model whose context no answer fills while a test looks at it."""
        folder = tiny.make(self.root / name)
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "max_position_embeddings": context}))
        done = subprocess.run([http.SAMPAN, "pull", str(folder), "--name", name], env=self.env, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr

    def serve(self, model, *args):
        self.made.append(http.Server("--history", str(self.root / "history.db"), *args, model=model, env=self.env))
        return self.made[-1]

    def close(self):
        for s in self.made:
            if s.process.poll() is None:
                s.end()
        self.hub.close()
