"""What needs neither jax nor libtpu."""

import pathlib
import subprocess
import sys
from unittest import mock

from absl.testing import absltest

from official_coatnet.analysis.tpu import worker


def _config(cycles):
  return f'backend_config={{"window_config":{{"estimated_cycles":"{cycles}"}}}}'


# As the compiler prints it, shortened: a fusion and what is inside of it, a
# tuple as result, a loop of eight rounds, a branch, a call, a scalar, copies.
_HLO = f"""HloModule main.6, is_scheduled=true

%fused_computation (param_0: f32[8]) -> f32[8] {{
  %param_0 = f32[8]{{0:T(128)}} parameter(0)
  ROOT %add.1 = f32[8]{{0:T(128)}} add(%param_0, %param_0), {_config(999999)}
}}

%body (state: (s32[], f32[8])) -> (s32[], f32[8]) {{
  %state = (s32[], f32[8]{{0:T(128)}}) parameter(0)
  %fusion.9 = f32[8]{{0:T(128)}} fusion(%state), kind=kLoop, \
calls=%fused_computation, metadata={{op_name="block/scan/add"}}, {_config(10)}
  ROOT %tuple.1 = (s32[], f32[8]{{0:T(128)}}) tuple(%state, %fusion.9)
}}

%condition (state.1: (s32[], f32[8])) -> pred[] {{
  ROOT %less = pred[]{{:T(512)}} compare(%state.1, %state.1), {_config(888888)}
}}

%left (p: f32[8]) -> f32[8] {{
  ROOT %negate.1 = f32[8]{{0:T(128)}} negate(%p), {_config(7)}
}}

%right (p.1: f32[8]) -> f32[8] {{
  ROOT %sine.1 = f32[8]{{0:T(128)}} sine(%p.1), {_config(70)}
}}

%called (p.2: f32[8]) -> f32[8] {{
  ROOT %tanh.1 = f32[8]{{0:T(128)}} tanh(%p.2), \
metadata={{op_name="block/tanh"}}, {_config(5)}
}}

ENTRY %main.6 (args.1: f32[8]) -> f32[8] {{
  %args.1 = f32[8]{{0:T(128)}} parameter(0)
  %fusion.1 = (f32[8]{{0:T(128)}}, f32[8]{{0:T(128)}}) fusion(%args.1), \
kind=kLoop, calls=%fused_computation, metadata={{op_name="block/conv"}}, \
{_config(1000)}
  %get-tuple-element.1 = f32[8]{{0:T(128)}} get-tuple-element(%fusion.1), \
index=0
  %copy-start.1 = (f32[8]{{0:T(128)S(1)}}, u32[]) copy-start(%args.1)
  %power.1 = f32[]{{:T(128)}} power(%args.1, %args.1)
  %copy-done.1 = f32[8]{{0:T(128)S(1)}} copy-done(%copy-start.1)
  %while.1 = (s32[], f32[8]{{0:T(128)}}) while(%fusion.1), \
condition=%condition, body=%body, \
backend_config={{"known_trip_count":{{"n":"8"}}}}
  %conditional.1 = f32[8]{{0:T(128)}} conditional(%args.1), \
branch_computations={{%left, %right}}
  %call.1 = f32[8]{{0:T(128)}} call(%args.1), to_apply=%called
  ROOT %bitcast.1 = f32[8]{{0:T(128)}} bitcast(%call.1)
}}
"""


class TpuWorkerTest(absltest.TestCase):
  def test_costs_of_a_module(self):
    """The sum, worked out by hand."""
    costs = worker.costs(_HLO)
    self.assertEqual(costs['cycles'], 1000 + 8 * 10 + 70 + 5)
    self.assertEqual(
      costs['ops'],
      [
        ['block/conv', 'fusion', 1000],
        ['block/scan/add', 'fusion', 80],
        ['', 'sine', 70],
        ['block/tanh', 'tanh', 5],
      ],
    )
    self.assertEqual(costs['uncosted'], {'copy-start': 1})

  def test_loop_of_unknown_length_is_said(self):
    costs = worker.costs(_HLO.replace('known_trip_count', 'other'))
    self.assertEqual(costs['cycles'], 1000 + 10 + 70 + 5)
    self.assertEqual(costs['uncosted']['while of unknown length'], 1)

  def test_text_without_entry(self):
    with self.assertRaisesRegex(ValueError, 'no ENTRY'):
      worker.costs('HloModule empty')

  def test_text_of_what_jaxlib_cannot_read_back(self):
    """It is what libtpu wrote of the module, and not of what is inside it."""
    dump = pathlib.Path(self.create_tempdir())
    compiled = mock.Mock()
    compiled.hlo_modules.side_effect = RuntimeError('RET_CHECK failure')
    with self.assertRaisesRegex(RuntimeError, 'RET_CHECK failure'):
      worker._optimised_text(compiled, dump)
    (dump / 'module_1.sparse.after_codegen.txt').write_text('ENTRY')
    (dump / 'module_0.main.after_codegen.txt').write_text(_HLO)
    (dump / 'module_0.main.before_optimizations.txt').write_text(2 * _HLO)
    self.assertEqual(worker._optimised_text(compiled, dump), _HLO)
    compiled.hlo_modules.side_effect = None
    compiled.hlo_modules.return_value = [mock.Mock(to_string=lambda: 'read')]
    self.assertEqual(worker._optimised_text(compiled, dump), 'read')

  def test_imports_no_tensorflow_and_no_jax(self):
    """The file runs where TensorFlow is not; jax comes when it compiles."""
    code = (
      'import runpy, sys; '
      f'runpy.run_path({worker.__file__!r}); '
      'assert not {"tensorflow", "jax", "numpy"} & set(sys.modules)'
    )
    subprocess.run([sys.executable, '-P', '-c', code], check=True)


if __name__ == '__main__':
  absltest.main()
