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

    def as_markdown(self):
        """The set-up, the medians and the ratios, section by section."""
        lines = [f"{name}: {value}  " for name, value in self.setup.items()]
        for title in dict.fromkeys(row["section"] for row in self.rows):
            lines += ["", f"## {title}", "", "| | median of three |", "|---|---|"]
            for row in self.rows:
                if row["section"] == title:
                    numbers = ", ".join(f"{name} {show(value)}" for name, value in row["median"].items())
                    lines.append(f"| {row['name']} | {numbers} |")
            ratios = [ratio for ratio in self.ratios if ratio["section"] == title]
            lines += ["", "| target | | wanted | |", "|---|---|---|---|"] if ratios else []
            for ratio in ratios:
                wanted = f"{'≥' if ratio['at least'] else '≤'} {show(ratio['target'])}"
                lines.append(f"| {ratio['name']} | {show(ratio['value'])} | {wanted} | {'met' if ratio['met'] else 'missed'} |")
        return "\n".join(lines) + "\n"

    def as_json(self):
        return {"setup": self.setup, "rows": self.rows, "ratios": self.ratios}


def show(value):
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
