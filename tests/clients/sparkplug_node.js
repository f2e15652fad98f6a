// A Sparkplug B edge node with a device: npm sparkplug-client, Cirrus Link's reference.
const sparkplug = require('sparkplug-client');

const [host, port, username, password] = process.argv.slice(2);
const T0 = 1767225600000;
const metric = (name, type, value, timestamp) => ({ name, type, value, timestamp });
const node = sparkplug.newClient({
  serverUrl: `mqtt://${host}:${port}`, username, password,
  groupId: 'node', edgeNode: 'js', clientId: 'sparkplug-client', version: 'spBv1.0', publishDeath: true,
});
node.on('error', (error) => { console.error(error); process.exit(1); });
node.on('birth', () => {
  node.publishNodeBirth({ timestamp: T0, metrics: [metric('load', 'Double', 0.5, T0)] });
  node.publishDeviceBirth('gauge', { timestamp: T0, metrics: [metric('temp', 'Int16', -3, T0)] });
  for (let i = 1; i < 5; i += 1) {
    node.publishDeviceData('gauge', { timestamp: T0 + i, metrics: [metric('temp', 'Int16', -3 - i, T0 + i)] });
    node.publishNodeData({ timestamp: T0 + i, metrics: [metric('load', 'Double', 0.5 + i, T0 + i)] });
  }
  setTimeout(() => { node.stop(); setTimeout(() => process.exit(0), 500); }, 500);
});
setTimeout(() => { console.error('no birth was asked for'); process.exit(1); }, 30000);
