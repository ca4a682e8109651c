"""Rows of numbers, printed as a table as they come in, and kept for the JSON."""

import statistics


class Report:
    """What a run measured. A row has the numbers of every repeat; the median is what the table shows."""

    def __init__(self, setup):
        self.setup = setup
        self.rows = []
        self.ratios = []
        print("\n".join(f"{name + ':':12} {value}" for name, value in setup.items()))

    def section(self, title):
        print(f"\n## {title}\n", flush=True)
        self._title = title

    def row(self, name, repeats):
        """Adds one party's repeats (dicts of numbers) and returns their medians."""
        medians = {number: statistics.median(repeat[number] for repeat in repeats) for number in repeats[0]}
        self.rows.append({"section": self._title, "name": name, "median": medians, "repeats": repeats})
        numbers = "  ".join(f"{number} {show(value)}" for number, value in medians.items())
        print(f"{name:36} {numbers}", flush=True)
        return medians

    def ratio(self, name, value, target, at_least):
        """Adds a ratio beside its target."""
        met = value >= target if at_least else value <= target
        self.ratios.append({"section": self._title, "name": name, "value": value, "target": target, "at least": at_least, "met": met})
        print(f"{name:36} {show(value)}  target {'>=' if at_least else '<='} {show(target)}  {'met' if met else 'MISSED'}", flush=True)

    def as_json(self):
        return {"setup": self.setup, "rows": self.rows, "ratios": self.ratios}


def show(value):
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
