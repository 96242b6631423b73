"""How figures of a report look: drawn by Bokeh, they answer to the pointer.

Backgrounds are left out and words are grey, so that a figure can be read on a
page that is light and on one that is dark. Titles are the page's own.
"""

from collections.abc import Sequence
from typing import Any

from official_coatnet import extras

# Colours that people with any colour vision tell apart, on white and on black
# (after Okabe and Ito).
_COLOURS = (
  '#3b8fd0',
  '#d9702b',
  '#1fa37f',
  '#c874a8',
  '#b8901c',
  '#56aee0',
  '#8c7bd8',
  '#8a8a8a',
)
WORDS = '#7d7d7d'
_LINES = '#8080804d'
_HEIGHT = 260


def bokeh(module: str) -> Any:
  """Returns a module of Bokeh.

  Raises:
    ImportError: If it is not installed; says how to install it.
  """
  return extras.load(f'bokeh.{module}', extra='report', purpose='The report')


def colours(count: int) -> list[str]:
  """Returns so many colours, one a run."""
  return [_COLOURS[i % len(_COLOURS)] for i in range(count)]


def figure(*, x_label: str = '', tools: str = '', **kwargs: Any) -> Any:
  """Makes a figure as wide as its place on the page.

  Args:
    x_label: Below it.
    tools: Of Bokeh's, for the toolbar.
    **kwargs: Of Bokeh's `figure`.
  """
  made = bokeh('plotting').figure(
    height=_HEIGHT,
    sizing_mode='stretch_width',
    tools=tools,
    background_fill_color=None,
    border_fill_color=None,
    outline_line_color=None,
    min_border_right=12,
    **kwargs,
  )
  made.toolbar.logo = None
  made.toolbar.autohide = True
  # Who draws a finger over a page on a telephone wants to scroll.
  made.toolbar.active_drag = None
  for axis in made.axis:
    axis.axis_line_color = axis.major_tick_line_color = WORDS
    axis.minor_tick_line_color = None
    axis.major_label_text_color = axis.axis_label_text_color = WORDS
    axis.axis_label_text_font_style = 'normal'
  made.xaxis.axis_label = x_label
  made.grid.grid_line_color = _LINES
  return made


def add_hover(
  made: Any,
  drawn: Any,
  tooltips: Sequence[tuple[str, str]],
  *,
  mode: str = 'mouse',
) -> None:
  """Shows values where the pointer is.

  Args:
    made: The figure.
    drawn: What in it is pointed at.
    tooltips: Names and what is shown of them, as of Bokeh's HoverTool.
    mode: 'vline' for anywhere above or below a point.
  """
  made.add_tools(
    bokeh('models').HoverTool(
      renderers=[drawn], tooltips=list(tooltips), mode=mode, visible=False
    )
  )


def place_legend(made: Any) -> None:
  """Puts the legend above the figure, where it covers nothing."""
  for legend in list(made.legend):
    legend.background_fill_color = legend.border_line_color = None
    legend.label_text_color = WORDS
    legend.label_text_font_size = '11px'
    legend.click_policy = 'hide'
    legend.padding = legend.margin = 0
    legend.spacing = 8
    legend.glyph_width = 16
    legend.ncols = 2
    made.add_layout(legend, 'above')
