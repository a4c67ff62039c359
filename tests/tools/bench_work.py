"""The workloads of tests/bench, by policy: their figures as tables for a terminal.

A figure's name is WORKLOAD_POLICY_COUNT; what a workload is stands in a line `# work NAME: words`.
"""
import re
from dataclasses import dataclass, field

KINDS = ("headline", "work", "aging")
POLICIES = ("zap", "rfc", "map", "batch", "pte")
ABOUT = re.compile(r"# work (\w+): (.*)$")
NAME = re.compile(r"((?:" + "|".join(KINDS) + r")_\w+?)_(" + "|".join(POLICIES) + r")_(\w+)$")
COLUMNS = ("dirty_marks", "accessed_marks", "locked", "fast_faults", "slow_faults", "flushes",
           "brackets", "slow_lookups", "cleaned", "idle", "ticks")
PER_PAGE = ("ticks",)		# shown for a page; the other counts as they are
AGED = ("aging_flag", "aging_zap", "aging_zap_range")


@dataclass
class Workload:
    about: str = ""
    pages: int = 0
    rows: dict = field(default_factory=dict)	# policy -> count -> value


def is_work(name: str) -> bool:
    return bool(NAME.match(name))


def read_about(lines: list) -> dict:
    found = (ABOUT.match(line.strip()) for line in lines)
    return {match.group(1): match.group(2) for match in found if match}


def read_work(figures: dict, about: dict) -> dict:
    """Name -> Workload, those that are most spoken of first."""
    workloads: dict = {}
    for name, figure in sorted(figures.items()):
        found = NAME.match(name)
        if not found:
            continue
        of, policy, count = found.groups()
        workload = workloads.setdefault(of, Workload(about.get(of, "")))
        workload.pages = figure.operations
        workload.rows.setdefault(policy, {})[count] = figure.value
    return dict(sorted(workloads.items(), key=lambda one: KINDS.index(one[0].split("_")[0])))


def best(image: dict, hosted: dict) -> dict:
    """Of each workload the run with more pages; the image's, if they are the same."""
    there, here = read_work(image, {}), read_work(hosted, {})
    others = {of for of, workload in here.items()
              if of not in there or workload.pages > there[of].pages}
    return {name: figure for figures, wanted in ((image, set(there) - others), (hosted, others))
            for name, figure in figures.items() if is_work(name)
            and NAME.match(name).group(1) in wanted}


def columns(workload: Workload) -> list:
    """The counts that are not 0 throughout."""
    names = dict.fromkeys(count for row in workload.rows.values() for count in row)
    return [name for name in COLUMNS + tuple(sorted(set(names) - set(COLUMNS))) if name in names
            and any(row.get(name) for row in workload.rows.values())]


def cell(workload: Workload, row: dict, name: str) -> str:
    value = row.get(name, 0)
    return f"{value / workload.pages:.0f}" if name in PER_PAGE else f"{value:.0f}"


def one_table(name: str, workload: Workload, tick: str) -> list:
    shown = columns(workload)
    titles = [f"{tick}/page" if title in PER_PAGE else title for title in shown]
    head = f"{name}: {workload.about}; {workload.pages} pages"
    if not shown:
        return [head, "  no mark, no fault, no flush"]
    lines = [head,
             f"{'':8}" + "".join(f"{title:>{width(title)}}" for title in titles)]
    for policy in POLICIES:
        row = workload.rows.get(policy)
        if row:
            lines.append(f"  {policy:6}" + "".join(
                f"{cell(workload, row, count):>{width(title)}}"
                for count, title in zip(shown, titles)))
    return lines


def width(title: str) -> int:
    return max(len(title), 7) + 2


def aging_ratio(workloads: dict, tick: str) -> list:
    """S38, S39: what a pass costs by zaps, for each one of the same by A."""
    if not all(name in workloads and "map" in workloads[name].rows for name in AGED):
        return []
    flag = workloads[AGED[0]].rows["map"]
    lines = []
    for name, words in zip(AGED[1:], ("each leaf by itself", "all by one bracket")):
        row = workloads[name].rows["map"]
        line = (f"aging by zaps, {words}: {row['slow_faults']:.0f} faults for "
                f"{flag['slow_faults']:.0f}, {row['flushes']:.0f} flushes for "
                f"{flag['flushes']:.0f}")
        if flag.get("ticks"):
            line += f", {row['ticks'] / flag['ticks']:.1f} times the {tick}"
        lines.append(line)
    return lines


def tables(figures: dict, about: dict, tick: str) -> list:
    workloads = read_work(figures, about)
    lines = []
    for name, workload in workloads.items():
        lines += one_table(name, workload, tick) + [""]
    ratio = aging_ratio(workloads, tick)
    return lines + (ratio + [""] if ratio else [])
