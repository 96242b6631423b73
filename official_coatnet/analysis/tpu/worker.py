"""Compiles XLA modules for a TPU on a machine that has none.

    .venv_tpu/bin/python -P official_coatnet/analysis/tpu/worker.py \
      --topology=v3:1x1 a.hlo.pb b.hlo.pb

libtpu holds the TPU's whole compiler, and compiles for a topology that is only
described. It needs a current jax, which cannot share an environment with
TensorFlow 2.15 (numpy 2 against numpy 1): so this file runs as a process of its
own, in the environment of `make tpu-report`. It imports nothing of this package
and no TensorFlow, and jax only once it compiles. `compiler` calls
it; others may too.

One line of JSON a module, in the order given and as soon as it is known: `path`
and either `error`, the compiler's own words, or

  cycles     the compiler's estimates, summed over all that the module executes
  ops        [[op name, opcode, cycles], ...] of the optimised module; the name
             is TensorFlow's, with its scopes
  uncosted   {opcode: how many} of what has no estimate and is not free
  flops      floating-point operations (a multiply-add is two), as XLA counts
  bytes_accessed   as XLA counts, of all memories
  memory     bytes of HBM: argument, output, alias, temp, code
  seconds    that the compiler took
"""

import argparse
import json
import os
import pathlib
import re
import sys
import tempfile
import time

# Part of the cache's key: raise it when a result means something else.
RESULT_VERSION = 1

# Without these libtpu asks the network whether this machine is a TPU VM, and
# waits.
_ENVIRONMENT = {
  'TPU_SKIP_MDS_QUERY': '1',
  'TPU_ACCELERATOR_TYPE': 'v4-8',
  'TPU_WORKER_HOSTNAMES': 'localhost',
  'TPU_WORKER_ID': '0',
  'JAX_PLATFORMS': 'cpu',
  # Several of these processes may run at once: no device is opened.
  'ALLOW_MULTIPLE_LIBTPU_LOAD': '1',
}

_COMPUTATION = re.compile(r'^(ENTRY )?%?([\w.\-]+) .*\{$')
_INSTRUCTION = re.compile(
  r'^\s+(?:ROOT )?%?[\w.\-]+ = (\(.*?\)|\S+) ([\w\-]+)\('
)
# Such as a learning rate, which the scalar unit computes beside the rest.
_SCALAR = re.compile(r'\w+\[\]')
_CYCLES = re.compile(r'"estimated_cycles":"?(\d+)')
_OP_NAME = re.compile(r'op_name="([^"]*)"')
_CALLED = re.compile(r'(?:body|to_apply|calls)=%?([\w.\-]+)')
_BRANCHES = re.compile(r'branch_computations=\{([^}]*)\}')
_TRIP_COUNT = re.compile(r'"known_trip_count":\{"n":"?(\d+)')
# What costs no time of its own: names for memory, and waiting for what another
# instruction has started (whose cost is that instruction's).
_FREE = frozenset(
  (
    'after-all',
    'bitcast',
    'constant',
    'get-tuple-element',
    'opt-barrier',
    'parameter',
    'partition-id',
    'replica-id',
    'tuple',
  )
)


def costs(hlo_text: str) -> dict:
  """Adds up the estimates that an optimised module carries.

  The module's entry is followed through calls and loops: a loop whose number of
  rounds is known counts its body that often, and a branch counts as its
  costliest side. What is inside a fusion is part of the fusion's estimate.

  Args:
    hlo_text: The module, as XLA prints it.

  Returns:
    `cycles`, `ops` and `uncosted`, as above.

  Raises:
    ValueError: If there is no entry.
  """
  computations, entry = _parse(hlo_text)
  if entry is None:
    raise ValueError('The text holds no HLO module: it has no ENTRY.')
  ops: list[list] = []
  uncosted: dict[str, int] = {}
  _follow(computations, entry, times=1, ops=ops, uncosted=uncosted)
  return {
    'cycles': sum(cycles for _, _, cycles in ops),
    'ops': ops,
    'uncosted': uncosted,
  }


def _parse(text: str) -> tuple[dict[str, list[str]], str | None]:
  """Returns the lines of each computation, and the name of the entry."""
  computations: dict[str, list[str]] = {}
  entry, lines = None, None
  for line in text.splitlines():
    if match := _COMPUTATION.match(line):
      lines = computations.setdefault(match.group(2), [])
      entry = match.group(2) if match.group(1) else entry
    elif line.startswith('}'):
      lines = None
    elif lines is not None:
      lines.append(line)
  return computations, entry


def _follow(computations, name, *, times, ops, uncosted):
  for line in computations[name]:
    match = _INSTRUCTION.match(line)
    if match is None:
      continue
    result, opcode = match.groups()
    if cycles := _CYCLES.search(line):
      op_name = _OP_NAME.search(line)
      ops.append(
        [op_name.group(1) if op_name else '', opcode]
        + [times * int(cycles.group(1))]
      )
    elif opcode == 'while':
      rounds = _TRIP_COUNT.search(line)
      if rounds is None:
        uncosted['while of unknown length'] = (
          uncosted.get('while of unknown length', 0) + 1
        )
      _follow(
        computations,
        _CALLED.search(line).group(1),
        times=times * (int(rounds.group(1)) if rounds else 1),
        ops=ops,
        uncosted=uncosted,
      )
    elif opcode == 'call':
      callee = _CALLED.search(line).group(1)
      _follow(computations, callee, times=times, ops=ops, uncosted=uncosted)
    elif opcode == 'conditional' and (found := _BRANCHES.search(line)):
      sides = []
      for branch in found.group(1).replace('%', '').split(','):
        side = ([], {})
        _follow(
          computations,
          branch.strip(),
          times=times,
          ops=side[0],
          uncosted=side[1],
        )
        sides.append(side)
      dearest = max(sides, key=lambda side: sum(op[2] for op in side[0]))
      ops.extend(dearest[0])
      for key, count in dearest[1].items():
        uncosted[key] = uncosted.get(key, 0) + count
    elif not (
      opcode in _FREE or opcode.endswith('-done') or _SCALAR.match(result)
    ):
      uncosted[opcode] = uncosted.get(opcode, 0) + 1


def _optimised_text(compiled, dump: str) -> str:
  """Returns the optimised module, as XLA prints it.

  A jaxlib can be too old to read back what libtpu has made, as jaxlib 0.10.2 is
  for the SparseCores of TPU7x. What libtpu has written itself is the same text.
  """
  try:
    return compiled.hlo_modules()[0].to_string()
  except RuntimeError:  # JaxRuntimeError is one.
    # The SparseCores' own programs are there, too; they are smaller.
    written = list(pathlib.Path(dump).glob('*.after_codegen.txt'))
    if not written:
      raise
    return max(written, key=lambda path: path.stat().st_size).read_text()


class Compiler:
  """Compiles for one core of a topology."""

  def __init__(self, topology: str):
    """Loads libtpu.

    Args:
      topology: As libtpu names it, such as 'v3:1x1' or 'v4:1x1x1'.
    """
    os.environ.update(_ENVIRONMENT)
    # jax has no public way from a module to a compile-only client: these are
    # its internals, of the version that requirements-tpu.lock pins.
    from jax._src.interpreters import mlir
    from jax.experimental import topologies
    from jaxlib import _jax
    from jaxlib.mlir import ir

    self._jax, self._mlir, self._ir = _jax, mlir, ir
    self._device = topologies.get_topology_desc(
      platform='tpu', topology_name=topology
    ).devices[0]

  def compile(self, module: bytes) -> dict:
    """Compiles a serialized HloModuleProto.

    Raises:
      RuntimeError: What the compiler says.
    """
    options = self._jax.CompileOptions()
    options.num_replicas = options.num_partitions = 1
    stablehlo = self._jax.mlir.hlo_to_stablehlo(module)
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix='tpu_dump_') as dump:
      debug = options.executable_build_options.debug_options
      debug.xla_dump_to, debug.xla_dump_hlo_as_text = dump, True
      with self._mlir.make_ir_context():
        compiled = self._device.client.compile(
          self._ir.Module.parse(stablehlo),
          self._jax.DeviceList((self._device,)),
          options,
        )
      seconds = time.monotonic() - start
      text = _optimised_text(compiled, dump)
    analysis = compiled.cost_analysis()
    stats = compiled.get_compiled_memory_stats()
    return {
      **costs(text),
      'flops': analysis.get('flops', 0.0),
      'bytes_accessed': analysis.get('bytes accessed', 0.0),
      'memory': {
        'argument': stats.argument_size_in_bytes,
        'output': stats.output_size_in_bytes,
        'alias': stats.alias_size_in_bytes,
        'temp': stats.temp_size_in_bytes,
        'code': stats.generated_code_size_in_bytes,
      },
      'seconds': round(seconds, 2),
    }


def main():
  """Compiles the modules of the command line."""
  parser = argparse.ArgumentParser(description='Compiles modules for a TPU.')
  parser.add_argument('--topology', required=True, help='Such as v3:1x1.')
  parser.add_argument('modules', nargs='+', help='Serialized HloModuleProtos.')
  args = parser.parse_args()
  compiler = Compiler(args.topology)
  for path in args.modules:
    result = {'path': path}
    try:
      with open(path, 'rb') as f:
        result.update(compiler.compile(f.read()))
    except Exception as e:  # XLA's errors have no class of their own.
      result['error'] = f'{type(e).__name__}: {e}'
    print(json.dumps(result))
    sys.stdout.flush()


if __name__ == '__main__':
  main()
