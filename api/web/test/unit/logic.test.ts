import { describe, expect, it } from 'vitest';
import type { Alarm, Asset, Case, Prediction, RolledUp, Transition } from '../../src/api/types';
import { touched } from '../../src/api/stream';
import { band, coverageText, partsText, waterfall, worstText } from '../../src/lib/health';
import { joinPages, query } from '../../src/lib/paging';
import { backoff, EventParser, type StreamEvent } from '../../src/lib/sse';
import { urgentFirst } from '../../src/pages/alarms';
import { decisionRows, pick } from '../../src/pages/fleet';
import { stepState } from '../../src/pages/ticket';
import { usualRange } from '../../src/pages/asset/history';
import { payloadView } from '../../src/pages/ledger';
import { match } from '../../src/router';

describe('health', () => {
  it.each([[100, 'good'], [80, 'good'], [79.9, 'watch'], [50, 'watch'], [49.9, 'poor'], [0, 'poor'], [null, 'none'], [Number.NaN, 'none']] as const)(
    'band(%s) is %s', (value, expected) => expect(band(value)).toBe(expected),
  );

  it('leads from 100 to the health index without a remainder', () => {
    const { steps, rest } = waterfall(60, [{ name: 'b', penalty: 10 }, { name: 'a', penalty: 30 }, { name: 'c', penalty: 0 }]);
    expect(steps.map((s) => [s.factor.name, s.from, s.to])).toEqual([['a', 100, 70], ['b', 70, 60]]);
    expect(rest).toBe(0);
  });

  it('shows what the factors do not explain', () => {
    expect(waterfall(60, [{ name: 'a', penalty: 30 }]).rest).toBe(10);
    expect(waterfall(0, [{ name: 'a', penalty: 130 }]).steps[0]?.to).toBe(0);
  });
});

/** Without parts it is the own health. */
const alone = (value: number | null): RolledUp => ({ value, stale: false, by_part: false, worst_part: null, parts: 0, parts_fresh: 0, coverage: null });

describe('health with parts', () => {
  const bearing = { id: 'b', name: 'Motor bearing', criticality: 'critical' as const, health: 14.2, leaves: 14.2, as_of: '', stale: false, path: [{ id: 'm', name: 'Motor' }, { id: 'b', name: 'Motor bearing' }] };
  const pump: RolledUp = { value: 14.2, stale: false, by_part: true, worst_part: bearing, parts: 4, parts_fresh: 3, coverage: 0.75, oldest_age_s: 7 * 3600 };

  it('says what an asset is by itself, and which part is worst', () => {
    expect(partsText(92, pump)).toBe('own 92, worst part: Motor bearing at 14 (critical)');
    expect(partsText(null, pump)).toBe('not assessed itself, worst part: Motor bearing at 14 (critical)');
    expect(worstText({ ...pump, worst_part: { ...bearing, stale: true } }, 'worst')).toBe('worst: Motor bearing at 14 (critical, silent since)');
  });

  it('says nothing of parts where there are none, and that none is known where that is so', () => {
    expect(partsText(92, alone(92))).toBe('');
    expect(coverageText(alone(92), true)).toBe('');
    expect(partsText(92, { ...alone(92), parts: 2 })).toBe('own 92, no part assessed yet');
  });

  it('says what is not known, and how old the rest is', () => {
    expect(coverageText(pump)).toBe('3 of 4 parts assessed lately, the oldest data 7\u00a0h old');
    expect(coverageText({ ...pump, parts_fresh: 4 })).toBe('');
    expect(coverageText({ ...alone(null), parts: 7 }, false, 'asset')).toBe('0 of 7 assets assessed lately');
    expect(coverageText({ ...pump, parts_fresh: 4, oldest_age_s: 30 }, true)).toBe('4 of 4 parts assessed lately, the oldest data 30\u00a0s old');
    expect(coverageText({ ...alone(null), parts: 1 })).toBe('0 of 1 part assessed lately');
  });
});

describe('paging', () => {
  it('joins pages, and shows a row once that moved between two requests', () => {
    const joined = joinPages([
      { data: [{ id: 'a' }, { id: 'b' }], next_cursor: 'x', has_more: true },
      { data: [{ id: 'b' }, { id: 'c' }], next_cursor: null, has_more: false },
    ]);
    expect(joined.rows.map((r) => r.id)).toEqual(['a', 'b', 'c']);
    expect(joined.more).toBe(false);
    expect(joinPages([{ data: [], next_cursor: 'x', has_more: true }])).toEqual({ rows: [], cursor: 'x', more: true });
    expect(joinPages([])).toEqual({ rows: [], cursor: null, more: false });
  });

  it('builds addresses without empty parameters', () => {
    expect(query('/v1/x', { limit: 5, cursor: null, q: '', open: false, state: 'a b' })).toBe('/v1/x?limit=5&state=a+b');
    expect(query('/v1/x?a=1', { b: 2 })).toBe('/v1/x?a=1&b=2');
  });
});

describe('stream', () => {
  const parse = (...parts: string[]): StreamEvent[] => {
    const seen: StreamEvent[] = [];
    const parser = new EventParser((e) => seen.push(e));
    parts.forEach((p) => parser.feed(p));
    return seen;
  };

  it('reads events however they are cut', () => {
    const text = 'id: 7\nevent: alarm.raised\ndata: {"a":\ndata: 1}\n\n: beat\n\ndata: x\n\n';
    const whole = parse(text);
    expect(whole).toEqual([{ id: '7', event: 'alarm.raised', data: '{"a":\n1}' }, { id: '7', event: 'message', data: 'x' }]);
    expect(parse(...text)).toEqual(whole);
    expect(parse(text.replace(/\n/g, '\r\n'))).toEqual(whole);
    expect(parse(...text.replace(/\n/g, '\r\n'))).toEqual(whole);
  });

  it('does not call back for heartbeats or for what is not finished', () => {
    expect(parse(': a\n\n', 'event: x\n\n', 'data: y\n')).toEqual([]);
  });

  it('waits longer each time, up to half a minute', () => {
    expect(backoff(0, 0)).toBe(500);
    expect(backoff(3, 1)).toBe(8000);
    expect(backoff(50, 1)).toBe(30_000);
  });

  it('knows what a change makes old', () => {
    expect(touched('alarm.raised')).toContain('/v1/alarms');
    expect(touched('ticket.transitioned')).toContain('/v1/tickets');
    expect(touched('something.new')).toEqual(['/v1/overview']);
    expect(touched('asset.health_changed', 'ast_1')).toContain('/v1/assets/ast_1');
    expect(touched('asset.health_changed', 'ast_1')).not.toContain('/v1/assets/');
    expect(touched('reset')).toEqual(['/v1/']);
  });
});

describe('routes', () => {
  it('matches by segment and decodes', () => {
    expect(match('/assets/:id', '/assets/ast_1')).toEqual({ id: 'ast_1' });
    expect(match('/q/:token', '/q/a%2Fb')).toEqual({ token: 'a/b' });
    expect(match('/assets/:id', '/assets/')).toBeNull();
    expect(match('/assets/:id', '/assets/a/b')).toBeNull();
    expect(match('/q/:token', '/q/%E0%A4%A')).toBeNull();
    expect(match('/', '/')).toEqual({});
  });
});

describe('fleet', () => {
  const asset = (id: string, name: string, value: number | null, more: Partial<Asset> = {}): Asset => ({
    id, name, class: { id: 'c1', name: 'Pump' }, site: { id: 's1', name: 'Site', time_zone: 'UTC' }, status: 'operational', criticality: 'medium', row_version: 1,
    health: value === null ? null : { value, coverage: 1, freshness_s: 1, as_of: '2026-01-01T00:00:00Z', stale: false }, rolled_up: alone(value), alarms_active: 0, tickets_open: 0, ...more,
  });
  const all = [asset('1', 'P-10', 95), asset('2', 'P-2', 30), asset('3', 'P-1', null), asset('4', 'Fan 1', 60, { class: { id: 'c2', name: 'Fan' }, criticality: 'critical' })];
  const none = { site: '', klass: '', health: '', q: '', sort: 'health' };

  it('puts the worst first and the unknown last', () => {
    expect(pick(all, none).map((a) => a.id)).toEqual(['2', '4', '1', '3']);
  });

  it('ranks and filters by health with parts, the part before the machine that it makes so', () => {
    const machine = asset('5', 'A-1', 92, { rolled_up: { ...alone(30), by_part: true, parts: 1, parts_fresh: 1 } });
    const grouping = asset('6', 'A-0', null, { rolled_up: { ...alone(30), by_part: true, parts: 1, parts_fresh: 1 } });
    expect(pick([machine, grouping, ...all], none).map((a) => a.id)).toEqual(['2', '6', '5', '4', '1', '3']);
    expect(pick([machine, grouping, ...all], { ...none, health: 'poor' }).map((a) => a.id)).toEqual(['2', '6', '5']);
  });

  it('sorts names as people count', () => {
    expect(pick(all, { ...none, sort: 'name' }).map((a) => a.name)).toEqual(['Fan 1', 'P-1', 'P-2', 'P-10']);
  });

  it('filters by words, class and band together', () => {
    expect(pick(all, { ...none, q: 'pump p-1' }).map((a) => a.id)).toEqual(['1', '3']);
    expect(pick(all, { ...none, klass: 'c2' }).map((a) => a.id)).toEqual(['4']);
    expect(pick(all, { ...none, health: 'none' }).map((a) => a.id)).toEqual(['3']);
    expect(pick(all, { ...none, health: 'watch', q: 'pump' })).toEqual([]);
  });

  const kase = (id: string, assetId: string, severity: Case['severity']): Case => ({ id, title: id, asset: { id: assetId, name: assetId }, failure_mode: null, severity, opened_at: '', updated_at: '', alarms: 1 });
  const prediction = (id: string, assetId: string, probability: number, case_id: string | null, status: Prediction['status'] = 'new'): Prediction => ({
    id, asset: { id: assetId, name: assetId }, failure_mode: null, horizon_h: 720, status, probability, p_low: 0, p_high: 1, factors: [], revision: 1, window_end: '', case_id, opened_at: '', updated_at: '', row_version: 1,
  });

  it('joins each case with its likeliest prediction and keeps predictions without a case', () => {
    const rows = decisionRows([kase('c1', 'a', 'warning'), kase('c2', 'b', 'critical')], [prediction('p1', 'a', 0.2, 'c1'), prediction('p2', 'a', 0.6, 'c1'), prediction('p3', 'z', 0.9, null), prediction('p4', 'y', 0.9, null, 'dismissed')]);
    expect(rows.map((r) => [r.case?.id, r.prediction?.id])).toEqual([['c2', undefined], ['c1', 'p2'], [undefined, 'p3']]);
  });

  it('lists urgent alarms first, the newest of each severity before the others', () => {
    const alarm = (id: string, severity: Alarm['severity'], active_at: string): Alarm => ({ id, severity, active_at, pending_since: active_at }) as Alarm;
    expect(urgentFirst([alarm('a', 'warning', '2026-01-02'), alarm('b', 'critical', '2026-01-01'), alarm('c', 'warning', '2026-01-03')]).map((a) => a.id)).toEqual(['b', 'c', 'a']);
  });
});

describe('the range a chart begins with', () => {
  const now = 1_800_000_000;
  it.each([
    [now - 10, null, '24h'], [now - 10, now - 600, '1h'], [now - 10, now - 7200, '24h'], [now - 86_400, null, '7d'], [now - 10 * 86_400, null, '30d'], [now - 900 * 86_400, null, 'custom'], [null, null, '24h'],
  ])('newest %s, beginning %s: %s', (newest, begins, range) => expect(usualRange(newest, begins, now)).toBe(range));
});

describe('ticket steps', () => {
  const step = (allowed: boolean, ...codes: string[]): Transition => ({ to: 'completed', allowed, missing: codes.map((code) => ({ code, detail: code })) });

  it('asks for what can be said with the step, and names what has to happen first', () => {
    expect(stepState(step(true))).toBe('go');
    expect(stepState(step(false, 'reason.missing'))).toBe('ask');
    expect(stepState(step(false, 'coding.cause', 'coding.remedy'))).toBe('ask');
    expect(stepState(step(false, 'coding.cause', 'tasks.open'))).toBe('blocked');
    expect(stepState(step(false))).toBe('blocked');
  });
});

describe('dead letters', () => {
  const letter = { id: 'd', gateway: { id: 'g', slug: 'g' }, received_at: '', topic: '', format: 'json', reason: '', detail: '', readings: 0 };

  it('indents what is JSON and leaves other text alone', () => {
    expect(payloadView({ ...letter, payload: '{"a":1}' })).toEqual({ text: '{\n  "a": 1\n}', binary: false });
    expect(payloadView({ ...letter, payload: '{"a"' })).toEqual({ text: '{"a"', binary: false });
  });

  it('shows bytes as hex with their letters', () => {
    expect(payloadView({ ...letter, payload_base64: btoa('AB\u0000') }).text).toBe(`000000  41 42 00${' '.repeat(39)}  AB.`);
    expect(payloadView({ ...letter, payload_base64: '***' })).toEqual({ text: '***', binary: true });
  });
});
