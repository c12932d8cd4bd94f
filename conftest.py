"""What pytest collects: modules of optional libraries only where these are installed."""

import importlib.util

# the GPU's rooms are entered through the dispatch only: they refuse to be imported without a device
collect_ignore = ["sslcore/backends/cupy_gpu"]
if importlib.util.find_spec("torch") is None:
    collect_ignore.append("sslcore/torch.py")
