// The text/event-stream format, read from fetch and not from EventSource: EventSource cannot send the token in a
// header, and a token in the address ends up in logs.

export interface StreamEvent {
  id: string;
  event: string;
  data: string;
}

/** Feed it text as it arrives; it calls back once for every whole event. */
export class EventParser {
  private rest = '';
  private id = '';
  private event = '';
  private data: string[] = [];

  constructor(private readonly onEvent: (event: StreamEvent) => void) {}

  /** The last id seen, to be sent as Last-Event-ID after a break. */
  get lastId(): string {
    return this.id;
  }

  feed(text: string): void {
    this.rest += text;
    for (;;) {
      const end = this.rest.search(/\r\n|\n|\r/);
      if (end < 0) return;
      // A lone \r at the very end may be the first half of \r\n.
      if (this.rest[end] === '\r' && end === this.rest.length - 1) return;
      const line = this.rest.slice(0, end);
      this.rest = this.rest.slice(end + (this.rest.startsWith('\r\n', end) ? 2 : 1));
      this.line(line);
    }
  }

  private line(line: string): void {
    if (line === '') {
      if (this.data.length > 0) this.onEvent({ id: this.id, event: this.event || 'message', data: this.data.join('\n') });
      this.event = '';
      this.data = [];
      return;
    }
    if (line.startsWith(':')) return;
    const colon = line.indexOf(':');
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
    if (field === 'data') this.data.push(value);
    else if (field === 'event') this.event = value;
    else if (field === 'id' && !value.includes('\0')) this.id = value;
  }
}

/** Wait before attempt n (0, 1, 2 …) in ms: doubling to 30 s, with jitter so that many browsers don't return at once. */
export function backoff(attempt: number, random: number): number {
  return Math.min(30_000, 1000 * 2 ** attempt) * (0.5 + random / 2);
}
