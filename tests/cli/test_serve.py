"""Every way in which `tidelog serve` can be started wrongly: one line, a hint, the right exit code, nothing written."""

import os
import socket

import pytest

# Exit codes, as `tidelog serve --help` lists them.
CONFIG, DATA, LISTEN = 2, 6, 7

FREE = ("--kafka", "127.0.0.1:0", "--native", "127.0.0.1:0", "--http", "127.0.0.1:0")


def test_an_address_that_is_none(refused, tmp_path):
    refused(LISTEN, "serve", "--data", tmp_path / "d", *FREE[2:], "--kafka", "nonsense", says="nonsense", hint="--kafka")
    assert not (tmp_path / "d").exists()


def test_an_address_of_another_machine(refused, tmp_path):
    refused(LISTEN, "serve", "--data", tmp_path / "d", *FREE[:4], "--http", "192.0.2.1:9292", says="192.0.2.1", hint="--http")


def test_a_port_in_use(refused, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        refused(LISTEN, "serve", "--data", tmp_path / "d", *FREE[:2], "--native", address, *FREE[4:], says="in use", hint="--native")


def test_a_folder_that_holds_something_else(refused, tmp_path):
    (tmp_path / "thesis.txt").write_text("chapter one")
    refused(DATA, "serve", "--data", tmp_path, *FREE, says="thesis.txt", hint="--data")
    assert os.listdir(tmp_path) == ["thesis.txt"]


def test_a_folder_that_is_a_file(refused, tmp_path):
    (tmp_path / "file").write_text("")
    refused(DATA, "serve", "--data", tmp_path / "file", *FREE, says="file", hint="folder")


def test_a_folder_that_must_not_be_read(refused, tmp_path):
    folder = tmp_path / "closed"
    folder.mkdir(mode=0)
    if os.geteuid() != 0:
        refused(DATA, "serve", "--data", folder, *FREE, says="ermission", hint="right")
    else:
        # No folder is closed to root but one that the system itself keeps closed.
        refused(DATA, "serve", "--data", "/proc/1/attr/d", *FREE, says="/proc/1/attr/d", hint="--data")


def test_a_folder_that_another_server_uses(refused, own_server):
    server = own_server()
    refused(DATA, "serve", "--data", server.data, *FREE, says="use", hint="--data")
    server.json("topic", "list")


def formatted(own_server):
    server = own_server()
    server.stop()
    return server.data


def test_a_folder_of_another_version(refused, own_server):
    data = formatted(own_server)
    properties = data / "meta.properties"
    properties.write_text(properties.read_text().replace("tidelog.format=1", "tidelog.format=99"))
    refused(DATA, "serve", "--data", data, *FREE, says="another version.*99", hint="version")


def test_a_folder_of_kafka(refused, own_server):
    data = formatted(own_server)
    properties = data / "meta.properties"
    properties.write_text("".join(line for line in properties.open() if "tidelog" not in line))
    refused(DATA, "serve", "--data", data, *FREE, hint="--data|version")


def test_a_folder_whose_identity_is_damaged(refused, own_server):
    data = formatted(own_server)
    (data / "meta.properties").write_bytes(b"\0" * 40)
    refused(DATA, "serve", "--data", data, *FREE, says="meta.properties", hint="backup|version")


def test_a_folder_of_another_node(refused, own_server):
    refused(CONFIG, "serve", "--data", formatted(own_server), *FREE, "--node-id", "7", says="node 7", hint="--data")


WRONG_FILES = {
    "a setting that there is not": ("retention_hours = 3\n", "retention_hours"),
    "a value of the wrong kind": ('node_id = "one"\n', "toml:1"),
    "a size that is none": ('[topics]\nsegment_size = "big"\n', "big"),
    "a file that is not TOML": ("data: here\n", "toml:1"),
}


@pytest.mark.parametrize("what", WRONG_FILES)
def test_a_wrong_configuration_file(what, refused, tmp_path):
    text, says = WRONG_FILES[what]
    (tmp_path / "tidelog.toml").write_text(text)
    refused(CONFIG, "serve", "--config", tmp_path / "tidelog.toml", *FREE, "--data", tmp_path / "d", says=says)


def test_a_configuration_file_that_is_not_there(refused, tmp_path):
    refused(CONFIG, "serve", "--config", tmp_path / "absent.toml", *FREE, says="absent.toml")


@pytest.mark.parametrize(
    "flags",
    [("--retention", "soon"), ("--segment-size", "0"), ("--partitions", "-3"), ("--node-id", "x"), ("--log-format", "xml")],
    ids=" ".join,
)
def test_a_wrong_flag(flags, refused, tmp_path):
    refused(CONFIG, "serve", "--data", tmp_path / "d", *FREE, *flags, says=flags[0])
    assert not (tmp_path / "d").exists()


def test_a_flag_that_there_is_not(refused):
    refused(CONFIG, "serve", "--zoom", "high", says="--zoom", hint="--help")
