"""Compiles XLA modules for TPUs that are not there, and keeps what it learns.

    module = lowering.lower(function, *specs)
    results = compiler.compile_modules({'block': module}, topology='v3')
    results['block'].cycles

The compiler runs in a process of its own, `worker`, in the environment that
`make tpu-report` creates. The cycles are the compiler's own estimates of one
core, not measurements.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
import re
import subprocess
import tempfile
import types
from collections.abc import Callable, Mapping
from typing import TypeVar

from official_coatnet.analysis.tpu import lowering, worker

_ROOT = pathlib.Path(__file__).resolve().parents[3]
_WORKER = pathlib.Path(worker.__file__)
# The Python of the environment with jax and libtpu.
DEFAULT_PYTHON = _ROOT / '.venv_tpu' / 'bin' / 'python'
PYTHON_VARIABLE = 'COATNET_TPU_PYTHON'
DEFAULT_CACHE = pathlib.Path('~/.cache/official_coatnet/tpu').expanduser()
INSTALL = 'make tpu-report'
_GIB = 2**30
# Two wordings of the same error, of libtpu 0.0.51 and of older versions.
_OUT_OF_MEMORY = re.compile(
  r'\(([\d.]+)([KMGT]?)\) exceeds available HBM \(([\d.]+)([KMGT]?)\)'
  r'|Used ([\d.]+)([KMGT]?) of ([\d.]+)([KMGT]?) hbm'
)


# What a caller calls a module: any key of a dict.
Name = TypeVar('Name')


@dataclasses.dataclass(frozen=True)
class Topology:
  """One core of a TPU generation: what one replica of a run has.

  Attributes:
    name: libtpu's name of the smallest slice.
    clock: Cycles a second.
    peak_flops: bfloat16 operations a second (a multiply-add is two).
    hbm: Bytes of memory that a program may use: what the compiler names in its
      error where they do not suffice.
    bandwidth: Bytes a second between that memory and the core, at the most.
    core: What XLA calls one device.
  """

  name: str
  clock: float
  peak_flops: float
  hbm: float
  bandwidth: float
  core: str


# Peak and bandwidth a chip: Google's pages "TPU v3", "TPU v4", "TPU v5e",
# "TPU v5p", "TPU v6e" and "TPU7x (Ironwood)" (docs.cloud.google.com/tpu/docs/v3
# and so on): 123, 275, 197, 459, 918 and 2307 TFLOP/s in bfloat16; 900, 1200,
# 819, 2765, 1638 and 7380 GB/s. A chip of v3, of v4 and of TPU7x is two devices
# to libtpu, of v5p one device of two cores (megacore). The peaks are the clocks
# times the multiply-adds of the matrix units, which confirms the clocks: v3 has
# 2 units of 128 x 128 a core, v4 and v5p 4, v5e 4, v6e and TPU7x 4 of
# 256 x 256. (libtpu's own `optimal_seconds` of a product are those of these
# clocks, but of 1.5 GHz for v5p and of 1.9 GHz for TPU7x.)
TOPOLOGIES: Mapping[str, Topology] = types.MappingProxyType(
  {
    'v3': Topology(
      'v3:1x1', 940e6, 61.5e12, 15.48 * _GIB, 450e9, 'half a chip'
    ),
    'v4': Topology(
      'v4:1x1x1', 1050e6, 137.5e12, 15.25 * _GIB, 600e9, 'half a chip'
    ),
    'v5e': Topology('v5e:1x1', 1500e6, 197e12, 15.75 * _GIB, 819e9, 'a chip'),
    'v5p': Topology(
      'v5p:1x1x1', 1750e6, 459e12, 95.73 * _GIB, 2765e9, 'a chip'
    ),
    'v6e': Topology('v6e:1x1', 1750e6, 918e12, 31.24 * _GIB, 1638e9, 'a chip'),
    'tpu7x': Topology(
      'tpu7x:1x1x1', 2200e6, 1153.5e12, 94.74 * _GIB, 3690e9, 'half a chip'
    ),
  }
)


@dataclasses.dataclass(frozen=True)
class Compiled:
  """What the compiler says of one module on one core.

  Attributes:
    cycles: Sum of its estimates.
    ops: (TensorFlow's op name with scopes, opcode, cycles) of the optimised
      module.
    uncosted: Opcodes without an estimate, and how many; mostly copies that run
      beside the computation.
    flops: Floating-point operations, as XLA counts.
    bytes_accessed: Of all memories, as XLA counts.
    memory: Bytes of HBM: argument, output, alias, temp and code.
    seconds: That the compiler took.
    error: Its own words if it failed; all else is then 0 or empty.
  """

  cycles: int = 0
  ops: tuple[tuple[str, str, int], ...] = ()
  uncosted: Mapping[str, int] = dataclasses.field(default_factory=dict)
  flops: float = 0.0
  bytes_accessed: float = 0.0
  memory: Mapping[str, int] = dataclasses.field(default_factory=dict)
  seconds: float = 0.0
  error: str | None = None

  @property
  def memory_needed(self) -> int:
    """Bytes of HBM while the module runs; what is aliased counts once."""
    sizes = self.memory
    return (
      sum(sizes[k] for k in ('argument', 'output', 'temp', 'code'))
      - sizes['alias']
    )

  def cycles_by_scope(self, scope_of: Callable[[str], str]) -> dict[str, int]:
    """Sums cycles by a function of the op's name."""
    totals: dict[str, int] = {}
    for name, _, cycles in self.ops:
      key = scope_of(name)
      totals[key] = totals.get(key, 0) + cycles
    return totals


def get_topology(name: str) -> Topology:
  """Returns the topology called `name`.

  Raises:
    ValueError: If there is none.
  """
  if name not in TOPOLOGIES:
    raise ValueError(
      f'--topology is {name!r}; it must be one of {", ".join(TOPOLOGIES)}.'
    )
  return TOPOLOGIES[name]


def find_python() -> pathlib.Path:
  """Returns the Python that has jax and libtpu.

  Raises:
    FileNotFoundError: If it is not there; with the command that installs it.
  """
  python = pathlib.Path(os.environ.get(PYTHON_VARIABLE, DEFAULT_PYTHON))
  if not python.exists():
    raise FileNotFoundError(
      f"The TPU's compiler is not installed: there is no {python}. Run "
      f'`{INSTALL}`, which creates it from requirements-tpu.lock, or set '
      f'{PYTHON_VARIABLE} to the Python of an environment with jax and libtpu.'
    )
  return python


def compiler_version() -> str:
  """Returns the compiler's versions, such as 'jaxlib 0.10.2, libtpu 0.0.51'.

  Raises:
    FileNotFoundError: If it is not installed.
  """
  found = find_python().parent.parent.glob(
    'lib/python3*/site-packages/*.dist-info'
  )
  versions = dict(path.stem.split('-')[:2] for path in found)
  return ', '.join(
    f'{name} {versions.get(name, "unknown")}' for name in ('jaxlib', 'libtpu')
  )


def compile_modules(
  modules: Mapping[Name, bytes],
  *,
  topology: str,
  cache_dir: str | os.PathLike | None = DEFAULT_CACHE,
  progress: Callable[[int, int], None] | None = None,
) -> dict[Name, Compiled]:
  """Compiles modules for one core, each distinct one once.

  Args:
    modules: Name to module, from `lowering.lower`.
    topology: One of `TOPOLOGIES`.
    cache_dir: Where results are kept, by the content of the module, the
      topology and the versions of the compiler; None keeps none. A failure is
      not kept, except where the compiler ran out of memory.
    progress: Called with how many distinct modules are done, of how many
      that are not in the cache.

  Returns:
    The name to the result; see `Compiled.error`.

  Raises:
    ValueError: If the topology is unknown.
    FileNotFoundError: If the compiler is not installed.
    RuntimeError: If its process fails.
  """
  target = get_topology(topology)
  version = compiler_version()
  keys = {
    name: _key(module, target.name, version=version)
    for name, module in modules.items()
  }
  found = {}
  for key in set(keys.values()):
    if (cached := _read(cache_dir, key)) is not None:
      found[key] = cached
  missing = {
    keys[name]: module
    for name, module in modules.items()
    if keys[name] not in found
  }
  for done, (key, result) in enumerate(_compile(missing, target.name), 1):
    found[key] = result
    if result.error is None or out_of_memory(result.error):
      _write(cache_dir, key, result)
    if progress is not None:
      progress(done, len(missing))
  return {name: found[key] for name, key in keys.items()}


def _compile(modules: Mapping[str, bytes], topology: str):
  """Yields (key, result) in the order of the modules, as soon as known."""
  if not modules:
    return
  python = find_python()
  with tempfile.TemporaryDirectory(prefix='tpu_modules_') as folder:
    paths = {}
    for key, module in modules.items():
      path = pathlib.Path(folder, f'{key}.hlo.pb')
      path.write_bytes(module)
      paths[str(path)] = key
    log = pathlib.Path(folder, 'stderr')
    with (
      open(log, 'w') as stderr,
      subprocess.Popen(
        # -P: without the folder of the script, whose modules are not for it.
        [str(python), '-P', str(_WORKER), f'--topology={topology}', *paths],
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
      ) as process,
    ):
      assert process.stdout is not None  # It is a pipe.
      for line in process.stdout:
        if line.startswith('{'):
          result = json.loads(line)
          yield paths.pop(result.pop('path')), _from_json(result)
    if process.returncode or paths:
      raise RuntimeError(_process_error(process.returncode, log.read_text()))


def _process_error(code: int, stderr: str) -> str:
  last = (stderr.strip().splitlines() or ['no message'])[-1]
  if 'ModuleNotFoundError' in last or 'libtpu' in last.lower():
    return (
      f"The TPU's compiler does not start: {last}. jax or libtpu is missing or "
      f'of another version: run `{INSTALL}`.'
    )
  if code == -9:
    last = 'it was killed, most likely for want of memory on this machine'
  return f"The TPU's compiler ended with {code}: {last}."


def out_of_memory(error: str) -> tuple[float, float] | None:
  """Reads an error of the compiler.

  Returns:
    (bytes needed, bytes available) if it says that HBM does not suffice, else
    None.
  """
  match = _OUT_OF_MEMORY.search(error)
  if match is None:
    return None
  units = {'': 1, 'K': 2**10, 'M': 2**20, 'G': 2**30, 'T': 2**40}
  found = [group for group in match.groups() if group is not None]
  needed, unit, available, available_unit = found
  return (
    float(needed) * units[unit],
    float(available) * units[available_unit],
  )


def _key(module: bytes, topology: str, *, version: str) -> str:
  """Names a result by all that it depends on."""
  digest = hashlib.sha256()
  for part in (
    lowering.content_hash(module).encode(),
    topology.encode(),
    version.encode(),
    str(worker.RESULT_VERSION).encode(),
  ):
    digest.update(hashlib.sha256(part).digest())
  return digest.hexdigest()[:32]


def _from_json(values: dict) -> Compiled:
  values['ops'] = tuple(tuple(op) for op in values.get('ops', ()))
  return Compiled(**values)


def _read(cache_dir, key: str) -> Compiled | None:
  if cache_dir is None:
    return None
  try:
    return _from_json(json.loads(_path(cache_dir, key).read_text()))
  except FileNotFoundError:
    return None


def _write(cache_dir, key: str, result: Compiled):
  if cache_dir is None:
    return
  path = _path(cache_dir, key)
  path.parent.mkdir(parents=True, exist_ok=True)
  # Complete or not there: several reports may share a cache.
  part = path.with_suffix(f'.{os.getpid()}')
  part.write_text(json.dumps(dataclasses.asdict(result)))
  part.replace(path)


def _path(cache_dir, key: str) -> pathlib.Path:
  return pathlib.Path(cache_dir, f'{key}.json')
