"""How long a server is starting, until it has loaded and warmed up an export.

TensorFlow's C++ loads the export and answers a request of one signature in each
of the warm-up's batch sizes. The other signatures run the same network, and
their first requests take as long: what makes them slow, the optimisation of the
graph, is done for each signature anew. So the warm-up is what was measured, as
many times as there are signatures.
"""

import dataclasses
import math
import os

import numpy as np

from official_coatnet.export import serving, versions, warmup
from official_coatnet.export.verify import runners
from official_coatnet.export.verify.comparison import Request
from official_coatnet.training import model_dir as model_dir_lib

# Of the startupProbe in docs/serving/tensorflow_serving.yaml.
PERIOD_SECONDS = 5
_SHORTEST = 300
# A node may be slower, its disk as well, and it may have other work.
_MARGIN = 3


@dataclasses.dataclass(frozen=True)
class StartUp:
  """What was measured.

  Attributes:
    cores: Cores of this machine, that is of this process.
    load: Seconds until the export is loaded.
    requests: Warm-up requests.
    warmup: Seconds that they take, estimated.
  """

  cores: int
  load: float
  requests: int
  warmup: float

  @property
  def failure_threshold(self) -> int:
    """The startupProbe's `failureThreshold`, with a period of 5 seconds."""
    seconds = max(_SHORTEST, _MARGIN * (self.load + self.warmup))
    return math.ceil(seconds / PERIOD_SECONDS)


def measure(path: str) -> StartUp:
  """Loads an export in a process of its own, and estimates its start.

  Args:
    path: The export, on this machine's disk.

  Raises:
    c_api.LoadError: If the export does not load or answer.
  """
  options = versions.read_provenance(path).options
  height, width = model_dir_lib.read_experiment(path).model.height_width
  encoded = warmup.make_jpeg(height, width)
  signature = 'serving_default'
  requests = []
  for size in options.batch_sizes:
    value = np.empty([size], object)
    value[:] = [encoded] * size
    requests.append(Request(signature, serving.INPUTS[signature], value))
  load, seconds = runners.time_in_cpp(path, requests)
  return StartUp(
    cores=len(os.sched_getaffinity(0)),
    load=load,
    requests=len(serving.INPUTS) * len(requests),
    warmup=len(serving.INPUTS) * sum(seconds),
  )
