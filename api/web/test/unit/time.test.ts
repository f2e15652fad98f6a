import { describe, expect, it } from 'vitest';
import { date, dayKey, moment, relative, zoneName } from '../../src/lib/time';

const NOW = new Date('2026-03-12T13:30:00Z');
const plain = (s: string): string => s.replace(/[\u00a0\u202f]/g, ' ');

describe('moments', () => {
  it('names the zone and leaves out the day of today', () => {
    expect(moment('2026-03-12T13:02:31Z', 'Europe/Berlin', NOW)).toBe('14:02 CET');
    expect(moment('2026-03-12T13:02:31Z', 'Europe/Berlin', NOW, true)).toBe('14:02:31 CET');
  });

  it('has a date on other days, with the year in other years', () => {
    expect(moment('2026-03-10T13:02:00Z', 'Europe/Berlin', NOW)).toBe('10 Mar, 14:02 CET');
    expect(moment('2025-07-10T13:02:00Z', 'Europe/Berlin', NOW)).toBe('10 Jul 2025, 15:02 CEST');
  });

  it('knows American names and falls back to the offset', () => {
    expect(zoneName('America/Chicago', NOW)).toBe('CDT');
    expect(zoneName('Asia/Kathmandu', NOW)).toMatch(/GMT\+5:45/);
    expect(zoneName('UTC', NOW)).toBe('UTC');
  });

  it('takes UTC for a zone it does not know, and says so', () => {
    expect(moment('2026-03-12T13:02:00Z', 'Mars/Olympus', NOW)).toBe('13:02 UTC');
  });

  it('counts days by the zone and not by UTC', () => {
    expect(dayKey(new Date('2026-03-11T23:30:00Z'), 'Europe/Berlin')).toBe('12/03/2026');
    expect(moment('2026-03-11T23:30:00Z', 'Europe/Berlin', NOW)).toBe('00:30 CET');
  });

  it('shows nothing for nothing and leaves alone what is no time', () => {
    expect(moment(null, 'UTC', NOW)).toBe('–');
    expect(moment('soon', 'UTC', NOW)).toBe('soon');
  });
});

describe('dates', () => {
  it('keeps a bare date on its day in every zone', () => {
    expect(date('2026-04-01', 'America/Chicago', NOW)).toBe('1 Apr');
    expect(date('2027-01-01', 'Pacific/Auckland', NOW)).toBe('1 Jan 2027');
  });
});

describe('relative', () => {
  it.each([
    ['2026-03-12T13:29:55Z', 'just now'], ['2026-03-12T13:29:00Z', '60 s ago'], ['2026-03-12T13:18:00Z', '12 min ago'], ['2026-03-15T13:30:00Z', 'in 3 days'], [null, 'never'],
  ])('%s is %s', (iso, text) => expect(plain(relative(iso, NOW))).toBe(text));
});
