"""How help looks: options with dashes, a short usage line, the default of each option that has one."""

import copy
from argparse import Action, ArgumentDefaultsHelpFormatter, RawDescriptionHelpFormatter, _MutuallyExclusiveGroup
from collections.abc import Iterable

from smat.options import dashed


class HelpFormatter(RawDescriptionHelpFormatter, ArgumentDefaultsHelpFormatter):
    """Descriptions keep their line breaks; the usage line has what must be given."""

    def add_usage(
        self,
        usage: str | None,
        actions: Iterable[Action],
        groups: Iterable[_MutuallyExclusiveGroup],
        prefix: str | None = None,
    ) -> None:
        """The usage line: the command, what must be given, and that there are options."""
        self._prog = self._prog.replace(" [options]", "") + " [options]"
        # what is required within settings, such as a rate of an optimizer, has its value in the settings' default
        needed = [_shown(a) for a in actions if not a.option_strings or (a.required and "." not in a.dest)]
        super().add_usage(usage, needed, groups, prefix)

    def add_argument(self, action: Action) -> None:
        """An option or argument."""
        super().add_argument(_shown(action))

    def _get_help_string(self, action: Action) -> str | None:
        nothing = action.default in (None, []) or action.nargs == 0  # the default of a switch is always off
        return action.help if nothing else super()._get_help_string(action)

    def _get_default_metavar_for_optional(self, action: Action) -> str:
        return action.dest.rpartition(".")[2].upper()


def _shown(action: Action) -> Action:
    """An option under its name with dashes."""
    shown = copy.copy(action)
    shown.option_strings = [dashed(name) for name in action.option_strings]
    return shown
