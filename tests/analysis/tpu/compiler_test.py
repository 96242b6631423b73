"""With a script in place of the compiler."""

import os
import pathlib
import stat
from unittest import mock

from absl.testing import absltest
from tensorflow.compiler.xla.service import hlo_pb2

from official_coatnet.analysis.tpu import compiler

# What the compiler of libtpu 0.0.51 says where memory does not suffice.
OUT_OF_MEMORY = (
  'JaxRuntimeError: RESOURCE_EXHAUSTED: E1000: CompileTimeHbmOom: Ran out of '
  'memory on HBM, the total memory required for HLO temporaries (24.50G) '
  'exceeds available HBM (15.48G). HLO module: a.10.'
)
# Takes the worker's arguments; costs are the sizes of the modules. Counts how
# often it is asked.
_COMPILER = """#!/bin/sh
shift 3
for path in "$@"; do
  echo "$path" >> {log}
  echo "{{\\"path\\": \\"$path\\", \\"cycles\\": $(wc -c < "$path"), \
\\"ops\\": [[\\"a/b\\", \\"fusion\\", 1], [\\"a/c\\", \\"fusion\\", 2]]}}"
done
"""


def _module(name: str, shape: int) -> bytes:
  """Returns a module of one parameter of a shape."""
  module = hlo_pb2.HloModuleProto(name=name, entry_computation_id=7)
  computation = module.computations.add(name=name, id=7, root_id=3)
  parameter = computation.instructions.add(name=name, opcode='parameter', id=3)
  parameter.shape.dimensions.append(shape)
  parameter.metadata.op_name = name
  return module.SerializeToString()


class TpuCompileTest(absltest.TestCase):
  def _install(self, script: str):
    """Puts a script in the place of the compiler's Python."""
    path = pathlib.Path(self.create_tempdir(), 'python')
    path.write_text(script)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    self.enter_context(
      mock.patch.dict(os.environ, {compiler.PYTHON_VARIABLE: str(path)})
    )

  def test_compiles_what_is_distinct_and_not_in_the_cache(self):
    log = pathlib.Path(self.create_tempdir(), 'log')
    cache = self.create_tempdir().full_path
    self._install(_COMPILER.format(log=log))
    modules = {
      's1': _module('s1', 8),
      's2': _module('s2', 8),  # The same, but for names.
      's3': _module('s3', 9),
    }
    seen = []

    def compile_all(topology):
      return compiler.compile_modules(
        modules,
        topology=topology,
        cache_dir=cache,
        progress=lambda *args: seen.append(args),
      )

    results = compile_all('v3')
    self.assertEqual(list(results), list(modules))
    self.assertEqual(results['s1'], results['s2'])
    self.assertEqual(results['s3'].cycles, len(modules['s3']))
    self.assertEqual(seen, [(1, 2), (2, 2)])
    self.assertEqual(compile_all('v3'), results)  # From the cache.
    self.assertLen(log.read_text().splitlines(), 2)
    compile_all('v4')
    self.assertLen(log.read_text().splitlines(), 4)

  def test_cycles_by_scope(self):
    result = compiler.Compiled(
      cycles=6,
      ops=(('a/b', 'fusion', 1), ('a/c', 'dot', 2), ('d/c', 'dot', 3)),
    )
    self.assertEqual(
      result.cycles_by_scope(lambda name: name.split('/')[0]),
      {'a': 3, 'd': 3},
    )

  def test_memory_counts_aliases_once(self):
    result = compiler.Compiled(
      memory=dict(argument=100, output=90, alias=80, temp=7, code=3)
    )
    self.assertEqual(result.memory_needed, 120)

  def test_errors_of_a_module_are_results_and_not_kept(self):
    cache = self.create_tempdir().full_path
    for error, kept in (('INTERNAL: x', 0), (OUT_OF_MEMORY, 1)):
      self._install(
        f'#!/bin/sh\nshift 3\necho "{{\\"path\\": \\"$1\\", '
        f'\\"error\\": \\"{error}\\"}}"\n'
      )
      result = compiler.compile_modules(
        {'a': _module('a', 1)}, topology='v3', cache_dir=cache
      )['a']
      self.assertEqual(result.error, error)
      self.assertLen(os.listdir(cache), kept)

  def test_out_of_memory(self):
    self.assertEqual(
      compiler.out_of_memory(OUT_OF_MEMORY), (24.5 * 2**30, 15.48 * 2**30)
    )
    self.assertEqual(
      compiler.out_of_memory('in memory space hbm. Used 512.0M of 16G hbm.'),
      (2**29, 2**34),
    )
    self.assertIsNone(compiler.out_of_memory('INTERNAL: other'))

  def test_unknown_topology(self):
    with self.assertRaisesRegex(
      ValueError, "'v33'; it must be one of v3, v4, v5e, v5p, v6e, tpu7x"
    ):
      compiler.compile_modules({}, topology='v33')

  def test_compiler_is_looked_for_beside_the_makefile(self):
    root = compiler.DEFAULT_PYTHON.parents[2]
    self.assertTrue((root / 'Makefile').is_file(), root)

  def test_not_installed(self):
    self.enter_context(
      mock.patch.dict(
        os.environ, {compiler.PYTHON_VARIABLE: '/nonexistent/python'}
      )
    )
    with self.assertRaisesRegex(FileNotFoundError, '`make tpu-report`'):
      compiler.compile_modules(
        {'a': _module('a', 1)}, topology='v3', cache_dir=None
      )

  def test_libtpu_or_jax_missing(self):
    for missing in (
      "ModuleNotFoundError: No module named 'jax'",
      'RuntimeError: Unable to find libtpu.so',
    ):
      self._install(f'#!/bin/sh\necho "{missing}" >&2\nexit 1\n')
      with self.assertRaisesRegex(RuntimeError, 'missing .*`make tpu-report`'):
        compiler.compile_modules(
          {'a': _module('a', 1)}, topology='v3', cache_dir=None
        )

  def test_process_that_is_killed(self):
    self._install('#!/bin/sh\nkill -9 $$\n')
    with self.assertRaisesRegex(RuntimeError, 'ended with -9: it was killed'):
      compiler.compile_modules(
        {'a': _module('a', 1)}, topology='v3', cache_dir=None
      )

  def test_peaks_are_clocks_times_matrix_units(self):
    """Units of n x n multiply-adds a core, as Google's pages have them."""
    for name, units, side in (
      ('v3', 2, 128),
      ('v4', 4, 128),
      ('v5e', 4, 128),
      ('v5p', 8, 128),
      ('v6e', 4, 256),
      ('tpu7x', 4, 256),
    ):
      target = compiler.get_topology(name)
      expected = 2 * units * side**2 * target.clock
      self.assertAlmostEqual(target.peak_flops / expected, 1.0, delta=5e-3)


if __name__ == '__main__':
  absltest.main()
