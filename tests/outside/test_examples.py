"""The Rust client's examples, as built, against a server: what their first lines promise."""

import subprocess

from harness.server import binary


def example(name, *arguments, input=b""):
    path = binary().parent / "examples" / name
    assert path.exists(), f"{path} is not built; `make binary` does that"
    answer = subprocess.run([path, *arguments], input=input, capture_output=True, timeout=60)
    assert answer.returncode == 0, answer.stderr.decode()
    return answer.stdout.decode()


def test_lines_that_one_example_sends_the_other_prints(server, java, topic_name):
    java.call("create", bootstrap=server.kafka, topic=topic_name, partitions=1)
    lines = "".join(f"line {n}\n" for n in range(10_000))
    assert example("produce", server.native, topic_name, input=lines.encode()) == "10000 records are stored\n"
    assert example("consume", server.native, topic_name) == lines


def test_the_core_runs_without_a_runtime():
    out = example("embed_core").splitlines()
    assert out[-1].startswith("1000 records came back, after "), out
