"""A Modbus server with known registers, on a free port: modbus.py tcp|rtu.

Units 1 and 2 answer. Of unit 1, holding registers 0-49 and 100-119 exist, the rest is an illegal
address; input registers, coils and discrete inputs 0-19.
"""

import asyncio
import struct
import sys

from pymodbus import FramerType
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice


def words(fmt, value):
    raw = struct.pack(">" + fmt, value)
    return [int.from_bytes(raw[i : i + 2], "big") for i in range(0, len(raw), 2)]


def holding():
    registers = [0] * 50
    registers[0] = 215
    registers[1] = 0xFFFF
    registers[2:4] = words("f", 12.5)
    registers[4:6] = list(reversed(words("f", -3.25)))
    registers[6:10] = words("d", 1e9)
    registers[10:12] = words("i", -70000)
    registers[12:16] = words("Q", 5_000_000_000)
    registers[16] = 0b100000
    registers[18:20] = words("f", float("nan"))
    return registers


async def main():
    kind = sys.argv[1]
    one = SimDevice(
        1,
        simdata=(
            [SimData(0, values=[True, False, True] + [False] * 17, datatype=DataType.BITS)],
            [SimData(0, values=[False, True] + [False] * 18, datatype=DataType.BITS)],
            [
                SimData(0, values=holding(), datatype=DataType.REGISTERS),
                SimData(100, values=list(range(1000, 1020)), datatype=DataType.REGISTERS),
            ],
            [SimData(0, values=[65436, 7] + [0] * 18, datatype=DataType.REGISTERS)],
        ),
    )
    two = SimDevice(2, simdata=[SimData(0, values=[42] * 10, datatype=DataType.REGISTERS)])
    framer = FramerType.RTU if kind == "rtu" else FramerType.SOCKET
    server = ModbusTcpServer([one, two], framer=framer, address=("127.0.0.1", int(sys.argv[2])))
    await server.listen()
    port = server.transport.sockets[0].getsockname()[1]
    print("ready", port, flush=True)
    # Ends with whoever started it.
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


asyncio.run(main())
