"""A Sparkplug B edge node with a device: PyPI pysparkplug."""

import sys
import time

import pysparkplug as psp

host, port, user, password = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]


def metric(name, datatype, value, ts):
    return psp.Metric(timestamp=ts, name=name, datatype=datatype, value=value)


T0 = 1767225600000
client = psp.Client(client_id="pysparkplug", username=user, password=password)
node = psp.EdgeNode("python", "node", (metric("load", psp.DataType.DOUBLE, 0.5, T0),), client=client)
device = psp.Device("gauge", (metric("temp", psp.DataType.INT16, -3, T0),))
node.register(device)
node.connect(host, port=port)
for _ in range(100):
    time.sleep(0.05)
    if node._connected:
        break
for i in range(1, 5):
    node.update_device("gauge", (metric("temp", psp.DataType.INT16, -3 - i, T0 + i),))
    node.update((metric("load", psp.DataType.DOUBLE, 0.5 + i, T0 + i),))
time.sleep(0.5)
node.disconnect()
