"""InfluxDB's own encoder of the line protocol (PyPI influxdb-client), over paho as Telegraf would send it."""

import sys

import paho.mqtt.client as mqtt
from influxdb_client import Point, WritePrecision

host, port, user, password = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
lines = "\n".join(
    Point("cpu,load avg")
    .tag("host", "press 3")
    .tag("core", "a=b,c")
    .field("idle %", 90.5 + i)
    .field("jobs", i)
    .field("up", True)
    .time(1767225600000000000 + i * 1000000, WritePrecision.NS)
    .to_line_protocol()
    for i in range(5)
)
try:
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="telegraf")
except AttributeError:
    client = mqtt.Client(client_id="telegraf")
client.username_pw_set(user, password)
client.connect(host, port)
client.loop_start()
info = client.publish("telegraf/press/cpu", lines, qos=1)
info.wait_for_publish(30)
assert info.is_published()
client.disconnect()
client.loop_stop()
