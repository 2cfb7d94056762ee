"""The strangers' share of the loop: how much, and who goes first."""

import asyncio

from edgeveil.coordinator.gateway.http.share import DEPTH_S, Share


class Guest:
    """A connection whose every read costs the same."""

    def __init__(self, share, address, order, each_s=0.001):
        self.share, self.address, self.order, self.each_s = share, address, order, each_s
        self.cost_s = 0.0

    def go(self):
        self.order.append(self)
        self.cost_s += self.each_s
        self.share.charge(self.address, self.each_s)


def in_loop(scene):
    async def run():
        return await scene(Share(asyncio.get_running_loop()))

    return asyncio.run(run())


def test_what_is_taken_in_the_long_run_is_a_quarter_of_the_time():
    async def scene(share):
        order, began = [], asyncio.get_running_loop().time()
        guests = [Guest(share, f"10.0.0.{number}", order) for number in range(50)]
        share.charge("10.1.1.1", 2 * DEPTH_S)
        for guest in guests:
            guest.go_on = guest.go
            guest.go = lambda guest=guest: (guest.go_on(), share.wait(guest))
            share.wait(guest)
        await asyncio.sleep(1.0)
        share.close()
        return len(order) * 0.001 / (asyncio.get_running_loop().time() - began)

    assert in_loop(scene) < 0.3


def test_nobody_overtakes_those_who_wait_and_the_cheapest_goes_first():
    async def scene(share):
        order = []
        dear, cheap, friend = (Guest(share, address, order) for address in ("a", "b", "c"))
        assert share.enough()
        share.charge("a", DEPTH_S + 0.001)
        share.charge("b", 0.001)
        share.charge("c", 0.05)
        share.befriend("c")
        assert not share.enough()
        for guest in (dear, cheap, friend):
            share.wait(guest)
        assert not share.enough()
        while len(order) < 3:
            await asyncio.sleep(0.01)
            share.charge("", -0.01)
        return order == [friend, cheap, dear]

    assert in_loop(scene)


def test_a_turn_of_the_loop_earns_nothing_while_it_lasts():
    now = 0.0

    async def scene(_share):
        nonlocal now
        share = Share(asyncio.get_running_loop(), clock=lambda: now)
        assert share.enough()
        share.charge("a", DEPTH_S)
        now += 100.0
        assert not share.enough()
        await asyncio.sleep(0)
        assert share.enough()

    in_loop(scene)
