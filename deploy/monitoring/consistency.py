"""Checks that the rules, their tests, the boards, the routing, the guide and the list of metrics agree.

    consistency.py                   prints each disagreement; the exit status is 1 if there is one
    consistency.py boards-as-rules   prints the boards' expressions as a file of rules, for `promtool check rules`

The files of rules and tests are read line by line, because Python has no YAML of its own.
"""

import json
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).resolve().parent
GUIDE = HERE.parent / "guide" / "monitoring.md"
BOARDS = sorted((HERE / "grafana").glob("*.json"))
HISTOGRAM_SUFFIX = re.compile(r"_(bucket|sum|count)$")

problems = []


def read(folder):
    return "\n".join(path.read_text() for path in sorted((HERE / folder).glob("*.yml")))


def panels(board):
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def expressions():
    return [
        (board.name, panel, target["expr"])
        for board in BOARDS
        for panel in panels(json.loads(board.read_text()))
        for target in panel["targets"]
    ]


def check_alerts(rules, tests, guide):
    for block in re.split(r"\n *- alert: ", rules)[1:]:
        name = block.split("\n", 1)[0]
        severity = re.search(r"\n *labels: \{severity: (page|ticket)\}", block)
        if not severity:
            problems.append(f"{name} has no label severity, page or ticket")
        for annotation in ("summary", "description"):
            if not re.search(rf"\n *{annotation}: \S", block):
                problems.append(f"{name} has no {annotation}")
        if f"runbook_url: deploy/guide/monitoring.md#{name.lower()}\n" not in block:
            problems.append(f"{name}: runbook_url does not lead to its entry in the guide")

        entry = guide.split(f"\n### `{name}`\n")
        if len(entry) != 2:
            problems.append(f"{name} has no entry in deploy/guide/monitoring.md, or more than one")
        else:
            text = re.split(r"\n##", entry[1])[0]
            problems.extend(f"{name}: its entry in the guide has no {part!r}"
                            for part in ("Means:", "Look at:", "Do:") if f"\n{part} " not in text)
            if severity and not re.search(rf"\nSeverity: {severity[1]}[,.]", text):
                problems.append(f"{name}: its entry in the guide does not say that it is a {severity[1]}")

        cases = re.findall(rf"- alertname: {name}\n *eval_time: \S+\n *exp_alerts:(.*)", tests)
        if "" not in cases:
            problems.append(f"{name} has no test in which it fires")
        if " []" not in cases:
            problems.append(f"{name} has no test in which it stays quiet")


def check_names(alerts, records, guide):
    for title in re.findall(r"\n### `([A-Za-z0-9]+)`\n", guide):
        if title not in alerts:
            problems.append(f"deploy/guide/monitoring.md describes {title}, which is no alert")
    problems.extend(f"{record} is not in deploy/guide/monitoring.md" for record in sorted(records) if f"`{record}`" not in guide)
    routing = (HERE / "alertmanager.yml").read_text()
    for pattern in re.findall(r'alertname =~?\s*"?([^"\],\n]+)', routing):
        for part in pattern.split("|"):
            if not any(re.fullmatch(part, alert) for alert in alerts):
                problems.append(f"alertmanager.yml names {part}, which is no alert")


def check_metrics(texts, records):
    types = dict(line.split() for line in (HERE / "metrics.txt").read_text().splitlines())
    used = set()
    for where, text in texts:
        for name in set(re.findall(r"\bjobrun_\w+", text)):
            base = HISTOGRAM_SUFFIX.sub("", name)
            known = base if types.get(base) == "histogram" and base != name else name
            used.add(known)
            if known not in types:
                problems.append(f"{where} uses {name}, which is not in metrics.txt")
            elif types[known] == "histogram" and known == name:
                problems.append(f"{where} uses {name}, a histogram, without _bucket, _sum or _count")
        for name in set(re.findall(r"\bjobrun:[\w:]+", text)) - records:
            problems.append(f"{where} uses {name}, which no rule records")
    problems.extend(f"{name} is in metrics.txt, and no rule or board uses it" for name in sorted(set(types) - used))


def check_boards():
    for path in BOARDS:
        board = json.loads(path.read_text())
        if re.search(r"https?://", path.read_text()):
            problems.append(f"{path.name} contains an address")
        for panel in panels(board):
            where = f"{path.name}, {panel['title']!r}"
            if not panel.get("description"):
                problems.append(f"{where} has no description")
            if not panel["fieldConfig"]["defaults"].get("unit"):
                problems.append(f"{where} has no unit")
            sources = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
            if any(source != {"type": "prometheus", "uid": "${datasource}"} for source in sources):
                problems.append(f"{where} does not take its data from the variable datasource")


def boards_as_rules():
    lines = ["groups:", "  - name: boards", "    rules:"]
    for number, (board, panel, expression) in enumerate(expressions()):
        expression = expression.replace("$__rate_interval", "5m").replace("$__range", "1d")
        lines.append(f"      # {board}: {panel['title']}")
        lines.append(f"      - {{record: 'board:{number}', expr: {json.dumps(expression)}}}")
    return "\n".join(lines)


def main():
    if sys.argv[1:] == ["boards-as-rules"]:
        print(boards_as_rules())
        return 0
    rules, tests, guide = read("rules") + "\n", read("tests"), GUIDE.read_text()
    alerts = set(re.findall(r"\n *- alert: (\w+)", rules))
    records = set(re.findall(r"\n *- record: ([\w:]+)", rules))
    check_alerts(rules, tests, guide)
    check_names(alerts, records, guide)
    check_metrics([("rules/", rules), *((board, expression) for board, _, expression in expressions())], records)
    check_boards()
    print("\n".join(problems))
    return 1 if problems else 0


sys.exit(main())
