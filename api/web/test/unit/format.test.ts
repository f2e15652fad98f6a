import { describe, expect, it } from 'vitest';
import { bounds, count, interval, probability, life, lifeShort, num, percent, plural, quantity, shortCount, shortId, span, words } from '../../src/lib/format';
import { unitText } from '../../src/lib/unit';

const plain = (s: string): string => s.replace(/[\u00a0\u202f]/g, ' ');

describe('numbers', () => {
  it.each([
    [0, '0'], [1, '1'], [1.5, '1.5'], [0.08134567, '0.08135'], [9.99999, '10'], [12.3456, '12.35'], [123.456, '123.5'], [1234.56, '1235'],
    [12_345.6, '12 346'], [-3.25, '−3.25'], [1.5e-7, '1.50e−7'], [2.5e12, '2.50e12'],
    [null, '–'], [undefined, '–'], [Number.NaN, '–'], [Number.POSITIVE_INFINITY, '–'],
  ])('num(%s) is %s', (value, text) => expect(plain(num(value))).toBe(text));

  it.each([[0, '0'], [999, '999'], [9999, '9999'], [12_345, '12 345'], [1_234_567, '1 234 567'], [-20_000, '−20 000'], [null, '–']])(
    'count(%s) is %s', (value, text) => expect(plain(count(value))).toBe(text),
  );

  it.each([[9_999, '9999'], [12_345, '12.3 k'], [210_000, '210 k'], [3_140_000, '3.1 M'], [2.5e9, '2.5 G']])(
    'shortCount(%s) is %s', (value, text) => expect(plain(shortCount(value))).toBe(text),
  );

  it('writes units as people do', () => {
    expect(plain(quantity(21.5, 'Cel'))).toBe('21.5 °C');
    expect(plain(quantity(3, '1'))).toBe('3');
    expect(plain(quantity(null, 'bar'))).toBe('–');
    expect(unitText('{rpm}')).toBe('rpm');
    expect(unitText('m3/h')).toBe('m³/h');
    expect(unitText('kW.h')).toBe('kWh');
    expect(unitText('g.m2')).toBe('g·m2');
    expect(unitText(null)).toBe('');
  });
});

describe('probabilities', () => {
  it.each([
    [0, '0 %'], [0.0004, '< 0.1 %'], [0.0123, '1.2 %'], [0.02, '2 %'], [0.128, '13 %'], [0.5, '50 %'], [0.995, '99.5 %'], [0.99999, '> 99.9 %'], [1, '100 %'], [null, '–'],
  ])('percent(%s) is %s', (p, text) => expect(plain(percent(p))).toBe(text));

  it('shows the interval', () => {
    expect(plain(interval(0.12, 0.08, 0.19))).toBe('12 % (8–19 %)');
    expect(plain(bounds(0.0001, 0.2))).toBe('< 0.1–20 %');
  });

  it('says of no probability that it is certain', () => {
    expect(plain(interval(0.5, 0, 1))).toBe('50 % (< 0.1–> 99.9 %)');
    expect(plain(probability(1))).toBe('> 99.9 %');
    expect(plain(probability(0))).toBe('< 0.1 %');
    expect(probability(null)).toBe('–');
  });
});

describe('spans of time', () => {
  it.each([
    [0, '0 s'], [45, '45 s'], [120, '2 min'], [5400, '1.5 h'], [36_000, '10 h'], [129_600, '1.5 days'], [864_000, '10 days'], [86_400 * 120, '4 months'], [86_400 * 800, '2.2 years'], [null, '–'],
  ])('span(%s) is %s', (s, text) => expect(plain(span(s))).toBe(text));

  it('says when the end of a life is open', () => {
    expect(plain(life({ p10_h: 72, p50_h: 144, p90_h: 216 }))).toBe('3 days to 9 days');
    expect(plain(life({ p10_h: 72, p50_h: 144, p90_h: null }))).toBe('3 days to beyond what the model can see');
    expect(life(null)).toBe('not known');
    expect(plain(lifeShort({ p10_h: 72, p90_h: 216 }))).toBe('3–9 days');
    expect(plain(lifeShort({ p10_h: 20, p90_h: 216 }))).toBe('20 h – 9 days');
    expect(plain(lifeShort({ p10_h: 72, p90_h: null }))).toBe('3 days or more');
    expect(plain(lifeShort({ p10_h: 72, p90_h: 72 }))).toBe('3 days');
    expect(lifeShort({})).toBe('–');
  });
});

describe('words', () => {
  it('turns codes into words', () => {
    expect(words('waiting_parts')).toBe('Waiting parts');
    expect(words('alarm.raised')).toBe('Alarm raised');
    expect(words(null)).toBe('');
    expect(plural(1, 'alarm')).toBe('1 alarm');
    expect(plural(3, 'alarm')).toBe('3 alarms');
    expect(shortId('ast_0192f0c5abcdef')).toBe('ast_…abcdef');
    expect(shortId('chn_12')).toBe('chn_12');
  });
});
