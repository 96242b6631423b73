"""Parameters and multiply-adds in closed form, from the paper's description.

Written without looking at a built model, so that it can check the count of one.
All multiply-adds are of one image.
"""

import dataclasses
import math

from official_coatnet.modeling import complexity, config


@dataclasses.dataclass
class Tally:
  params: int = 0
  multiply_adds: int = 0
  lookup_multiply_adds: int = 0

  def matmul(self, positions: int, inputs: int, outputs: int, *, bias: bool):
    """A dense layer or 1x1 convolution at so many positions."""
    self.params += inputs * outputs + (outputs if bias else 0)
    self.multiply_adds += positions * inputs * outputs

  def norm(self, channels: int):
    self.params += 2 * channels


def stem(tally, *, width, blocks, grid):
  positions, inputs = math.prod(grid), 3
  for i in range(blocks):
    last = i == blocks - 1
    tally.matmul(positions, 9 * inputs, width, bias=last)
    if not last:
      tally.norm(width)
    inputs = width


def mbconv(tally, *, inputs, width, before, grid, downsample):
  """One MBConv block from the grid `before` to the grid `grid`."""
  positions = math.prod(grid)
  hidden, squeezed = 4 * width, max(1, int(0.25 * width))
  expanded_at = grid if downsample == 'expand_conv' else before
  tally.norm(inputs)
  tally.matmul(math.prod(expanded_at), inputs, hidden, bias=False)
  tally.norm(hidden)
  # Depthwise: each channel sees itself alone.
  tally.params += 9 * hidden
  tally.multiply_adds += 9 * hidden * positions
  tally.norm(hidden)
  tally.matmul(1, hidden, squeezed, bias=True)
  tally.matmul(1, squeezed, hidden, bias=True)
  tally.matmul(positions, hidden, width, bias=True)
  if inputs != width:
    tally.matmul(positions, inputs, width, bias=True)


def transformer(tally, *, inputs, width, grid, head_size):
  height, columns = grid
  n, heads = height * columns, width // head_size
  tally.norm(inputs)
  for _ in ('query', 'key', 'value'):
    tally.matmul(n, inputs, width, bias=True)
  tally.multiply_adds += 2 * heads * n * n * head_size
  tally.params += heads * (2 * height - 1) * (2 * columns - 1)
  # Along the height, then along the width.
  tally.lookup_multiply_adds += heads * height**2 * (2 * height - 1) * (
    2 * columns - 1
  ) + heads * height**2 * columns**2 * (2 * columns - 1)
  tally.matmul(n, width, width, bias=True)
  if inputs != width:
    tally.matmul(n, inputs, width, bias=True)
  tally.norm(width)
  tally.matmul(n, width, 4 * width, bias=True)
  tally.matmul(n, 4 * width, width, bias=True)


def stages(
  *,
  blocks,
  widths,
  head_size,
  image_size=(224, 224),
  layout='C-C-T-T',
  downsample='expand_conv',
  num_classes=1000,
) -> dict[str, Tally]:
  """Returns the counts of each stage, 's0' and on, and of 'head'."""
  tallies = {'s0': Tally()}
  if layout == 'ViT_REL':
    # One 16x16 convolution of stride 16; then nothing is reduced any more.
    stride, kinds = 1, ['T']
    grid = [math.ceil(v / 16) for v in image_size]
    tallies['s0'].matmul(math.prod(grid), 16 * 16 * 3, widths[0], bias=True)
  else:
    stride, kinds = 2, layout.split('-')
    grid = [math.ceil(v / 2) for v in image_size]
    stem(tallies['s0'], width=widths[0], blocks=blocks[0], grid=grid)
  for stage, kind in enumerate(kinds, start=1):
    tally = tallies[f's{stage}'] = Tally()
    inputs, before = widths[stage - 1], grid
    grid = [math.ceil(v / stride) for v in grid]
    for _ in range(blocks[stage]):
      common = dict(inputs=inputs, width=widths[stage], grid=grid)
      if kind == 'C':
        mbconv(tally, before=before, downsample=downsample, **common)
      else:
        transformer(tally, head_size=head_size, **common)
      inputs, before = widths[stage], grid
  head = tallies['head'] = Tally()
  head.norm(widths[-1])
  head.matmul(1, widths[-1], widths[-1], bias=True)
  head.matmul(1, widths[-1], num_classes, bias=True)
  return tallies


def totals(config) -> dict[str, int]:
  """Returns the counts of the whole network of a `ModelConfig`, by name."""
  tallies = stages(
    blocks=config.blocks,
    widths=config.widths,
    head_size=config.head_size,
    image_size=config.height_width,
    layout=config.layout,
    downsample=config.downsample,
    num_classes=config.num_classes,
  ).values()
  return {
    field.name: sum(getattr(t, field.name) for t in tallies)
    for field in dataclasses.fields(Tally)
  }


def closed_form(c: config.ModelConfig) -> complexity.Count:
  """Returns what `complexity.count` should end with, without building.

  For networks of 1000 classes.
  """
  return complexity.Count(name=c.name, output_shape=(1000,), **totals(c))
