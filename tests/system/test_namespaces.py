"""The README, literally, on a server and three devices with addresses of their own, and every packet seen."""

import subprocess
import sys

import pytest
from namespaces_bench import NAMES, Network, require_namespaces
from processes_bench import wait_until
from readme_bench import (
    Machines,
    await_rounds,
    commands,
    deal_photos,
    serving,
    start_devices,
    tokens_in,
)

pytestmark = pytest.mark.system
PORT = 8443
TCP = 6
STRAY = """
import socket
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("198.51.100.9", 9))
"""


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    require_namespaces()
    with Network(tmp_path_factory.mktemp("network")) as built:
        yield built


@pytest.fixture(scope="module")
def trained(network, tmp_path_factory):
    """Five rounds, from `init` on, with nothing changed but that the installs are done."""
    folder = tmp_path_factory.mktemp("machines")
    install, init, new, serve, run_agent, *looks = commands("A server and three devices")
    assert install.startswith("pip install")
    # Whatever the environment says, nobody is to be told that this runs.
    tempting = {"FLWR_TELEMETRY_ENABLED": "1", "HTTPS_PROXY": "http://198.51.100.7:3128"}
    machines = Machines(folder, prefix=network.inside, extra=tempting)
    try:
        devices = NAMES[1:]
        deal_photos(machines, devices)
        printed = machines.run("server", init)
        machines.run("server", new)
        machines.start("server", serve)
        wait_until(lambda: serving(machines, looks[0]), 120, "serve")
        start_devices(machines, devices, tokens_in(printed, devices), run_agent)
        await_rounds(machines, [1, 2, 3, 4, 5])
        shown = {look: machines.run("server", look) for look in looks if "coordinator" in look}
        for name in NAMES[1:]:
            shown[f"{name} doctor"] = machines.run(name, "agent doctor")
            shown[f"{name} budget"] = machines.run(name, looks[-1])
    finally:
        machines.stop()
    return shown


def test_a_server_and_three_devices_train_as_the_readme_says(trained):
    assert "of 20 committed" in trained["coordinator report"]
    for name in NAMES[1:]:
        assert "rounds charged" in trained[f"{name} budget"]
        assert "fl.example.org is 10.77.0.1" in trained[f"{name} doctor"]


def test_a_device_sends_no_packet_to_anybody_but_its_coordinator(network, trained):
    server = network.addresses["server"]
    for name in NAMES[1:]:
        own = network.addresses[name]
        flows = network.flows(name)
        assert len(flows) >= 2
        for interface, protocol, source, from_port, target, to_port in flows:
            if source == network.gateway:  # the kernel of the switch, about its multicast groups
                continue
            assert interface == "eth0", flows
            out = (source, target, to_port) == (own, server, PORT)
            back = (source, from_port, target) == (server, PORT, own)
            assert protocol == TCP, flows
            assert out or back, flows


def test_the_server_talks_to_its_devices_and_to_itself_only(network, trained):
    server, devices = network.addresses["server"], set(network.addresses.values())
    for interface, protocol, source, from_port, target, to_port in network.flows("server"):
        if source == network.gateway:
            continue
        assert protocol == TCP
        if interface == "lo":
            assert {source, target} <= {"127.0.0.1", server}
        else:
            assert {source, target} <= devices
            assert PORT in {from_port, to_port}


@pytest.mark.parametrize("name", NAMES)
def test_the_sniffers_would_have_seen_a_stray_packet(network, trained, name):
    """Control: last, since it leaves a trace."""
    subprocess.run([*network.inside(name), sys.executable, "-c", STRAY], check=True)
    wait_until(lambda: any("198.51.100.9" in flow for flow in network.flows(name)), 60, "the stray")
