"""Serves an exported file over HTTP: a client posts a .npy array of frames and gets a .npy array of the next frames.

The file is made by `stlight export`. The script starts the server, sends it one request, and stops. With a port as its
argument, `python examples/serve.py 8000`, it serves until Ctrl-C.
"""

import http.server
import io
import pathlib
import subprocess
import sys
import tempfile
import threading
import urllib.request

import numpy as np

from stlight_jax import Forecaster, InputError

file = pathlib.Path(tempfile.mkdtemp(prefix="serve_")) / "model.stlight"
subprocess.run([sys.executable, "-m", "stlight_jax", "export", "--model=tiny", f"--out={file}"], check=True)
forecaster = Forecaster.load(file)


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers each POST with the forecast; status 400 if the frames do not fit the network."""

    def do_POST(self):
        """Reads frames, predicts, writes frames."""
        content = io.BytesIO(self.rfile.read(int(self.headers["Content-Length"])))
        answer = io.BytesIO()
        try:
            np.save(answer, forecaster(np.load(content, allow_pickle=False)))
        except (InputError, ValueError) as error:
            self.send_error(400, str(error))
            return
        self.send_response(200)
        self.end_headers()
        self.wfile.write(answer.getvalue())


port = int(sys.argv[1]) if len(sys.argv) > 1 else 0
server = http.server.HTTPServer(("127.0.0.1", port), Handler)  # one request at a time
print(f"serving {file} at http://127.0.0.1:{server.server_port}")
if port:
    server.serve_forever()
threading.Thread(target=server.serve_forever, daemon=True).start()
request = io.BytesIO()
np.save(request, np.zeros((10, 32, 32), np.uint8))
with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}", request.getvalue()) as answer:
    prediction = np.load(io.BytesIO(answer.read()))
print(f"forecast: {prediction.dtype}, {prediction.shape}")
server.shutdown()
