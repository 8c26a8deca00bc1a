import pytest

from tierwise.measure.machine import EnergyMeter, MachineState, MachineWatch, disturbances


def put(root, path, text):
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(str(text))


@pytest.fixture
def machine(tmp_path):
    put(tmp_path, "proc/stat", "cpu 100 0 100 800 0 0 0 0 50 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n")
    put(tmp_path, "proc/loadavg", "0.50 0.40 0.30 1/100 4242\n")
    for cpu in (0, 1):
        folder = f"sys/devices/system/cpu/cpu{cpu}"
        put(tmp_path, f"{folder}/thermal_throttle/core_throttle_count", 3)
        put(tmp_path, f"{folder}/cpufreq/scaling_cur_freq", 2_000_000 + cpu * 1_000_000)
    put(tmp_path, "sys/class/powercap/intel-rapl:0/energy_uj", 1_000_000)
    put(tmp_path, "sys/class/powercap/intel-rapl:0/max_energy_range_uj", 5_000_000)
    put(tmp_path, "sys/class/powercap/intel-rapl:0:0/energy_uj", 77)
    return tmp_path


def test_a_stretch_is_the_difference_of_two_readings(machine):
    watch = MachineWatch(machine)
    put(machine, "proc/stat", "cpu 150 0 100 830 0 0 0 20 50 0\n")
    put(machine, "sys/devices/system/cpu/cpu1/thermal_throttle/core_throttle_count", 5)
    put(machine, "sys/class/powercap/intel-rapl:0/energy_uj", 3_500_000)
    state = watch()
    assert state.steal == pytest.approx(0.2)
    assert state.throttled == 2
    assert state.energy_j == pytest.approx(2.5)
    assert state.frequency_hz == pytest.approx(2.5e9)
    assert watch().steal == 0.0


def test_cores_that_are_kept_awake_are_no_load(machine, monkeypatch):
    monkeypatch.setattr("tierwise.measure.machine.os.cpu_count", lambda: 2)
    put(machine, "proc/loadavg", "2.50 0.40 0.30 1/100 4242\n")
    assert MachineWatch(machine)().load == 1.25
    assert MachineWatch(machine, kept_awake=2)().load == 0.25
    assert MachineWatch(machine, kept_awake=3)().load == 0.0


def test_an_energy_counter_that_wraps_still_counts_up(machine):
    put(machine, "sys/class/powercap/intel-rapl:0/energy_uj", 4_900_000)
    watch = MachineWatch(machine)
    put(machine, "sys/class/powercap/intel-rapl:0/energy_uj", 100_000)
    assert watch().energy_j == pytest.approx(0.2)


def test_energy_is_told_where_counters_can_be_read_and_said_to_be_absent_elsewhere(
    machine, tmp_path
):
    meter = EnergyMeter(machine)
    put(machine, "sys/class/powercap/intel-rapl:0/energy_uj", 1_250_000)
    assert meter() == pytest.approx(0.25)
    assert meter() == 0.0
    assert meter.source == "RAPL, 1 CPU package"
    # As a kernel gives it to those who may not read it.
    put(machine, "sys/class/powercap/intel-rapl:1/energy_uj", "")
    for absent in (EnergyMeter(machine), EnergyMeter(tmp_path / "nothing")):
        assert absent() is None
        assert absent.source == "not available here: no readable RAPL counters"


def test_without_cpufreq_the_frequency_comes_from_cpuinfo(tmp_path):
    put(tmp_path, "proc/cpuinfo", "cpu MHz\t\t: 2445.4\nmodel name : x\ncpu MHz\t\t: 2445.6\n")
    assert MachineWatch(tmp_path)().frequency_hz == pytest.approx(2445.5e6)


def test_what_a_machine_does_not_tell_is_absent_and_disturbs_nothing(tmp_path):
    state = MachineWatch(tmp_path)()
    assert state == MachineState()
    assert state.disturbances(usual_frequency_hz=2e9) == ()


def test_this_machine_can_be_watched():
    state = MachineWatch()()
    assert state.steal is None or 0 <= state.steal <= 1
    assert state.load is None or state.load >= 0


def test_disturbed_blocks_say_what_disturbed_them():
    state = MachineState(steal=0.05, load=2.0, frequency_hz=1.5e9, throttled=4)
    assert state.disturbances(usual_frequency_hz=2e9) == (
        "5.0% of CPU time was stolen by other virtual machines",
        "load of 2.0 per CPU",
        "CPUs were throttled 4 times",
        "CPUs ran 25% slower than usual",
    )
    assert MachineState(0.0, 0.5, 2e9, 0).disturbances(2e9) == ()


def test_a_slow_block_is_told_from_the_usual_frequency_of_all():
    at = [MachineState(frequency_hz=hz) for hz in (2.0e9, 2.0e9, 3.0e9, 2.0e9, 1.5e9)]
    told = disturbances([None, *at])
    assert told == [(), (), (), (), (), ("CPUs ran 25% slower than usual",)]
    assert disturbances([None, MachineState()]) == [(), ()]
