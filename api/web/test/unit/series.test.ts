import { describe, expect, it } from 'vitest';
import { columns, joinTail, rebucket, sentence, summarise, thin, type SeriesData } from '../../src/lib/series';

const flat = (ts: number[], mean: (number | null)[] = ts): SeriesData => ({ ts, min: mean, max: mean, mean, n: ts.map(() => 1) });

describe('columns', () => {
  it('puts a null row into a gap and nowhere else', () => {
    const [x, mean] = columns(flat([0, 10, 20, 100, 110]), 30);
    expect(x).toEqual([0, 10, 20, 60, 100, 110]);
    expect(mean).toEqual([0, 10, 20, null, 100, 110]);
  });

  it('keeps the null rows the server sends', () => {
    expect(columns(flat([0, 5, 10], [1, null, 2]), 30)[1]).toEqual([1, null, 2]);
  });

  it('drops what goes backwards, which uPlot cannot draw', () => {
    expect(columns(flat([0, 10, 10, 5, 20]), 0)[0]).toEqual([0, 10, 20]);
  });

  it('has nothing for nothing', () => {
    expect(columns(flat([]), 30)).toEqual([[], [], [], []]);
  });
});

describe('joinTail', () => {
  it('lets the newer part win where both have a point, and drops what has slid out of the window', () => {
    const joined = joinTail(flat([0, 10, 20, 30], [1, 2, 3, 4]), flat([20, 30, 40], [33, 44, 55]), 10);
    expect(joined.ts).toEqual([10, 20, 30, 40]);
    expect(joined.mean).toEqual([2, 33, 44, 55]);
  });

  it('keeps everything when the tail is empty', () => {
    expect(joinTail(flat([0, 10]), flat([]), 0).ts).toEqual([0, 10]);
  });
});

describe('rebucket', () => {
  it('weighs means by their readings and keeps the extremes', () => {
    const fine: SeriesData = { ts: [100, 104, 109, 110, 131], min: [1, 0, 5, 7, 2], max: [1, 9, 5, 7, 2], mean: [1, 4, null, 7, 2], n: [1, 3, 0, 1, 1] };
    expect(rebucket(fine, 90, 10)).toEqual({ ts: [100, 110, 130], min: [0, 7, 2], max: [9, 7, 2], mean: [3.25, 7, 2], n: [4, 1, 1] });
  });

  it('leaves alone what has no width', () => {
    const one = flat([1, 2]);
    expect(rebucket(one, 0, 0)).toBe(one);
  });
});

describe('summary', () => {
  it('finds extremes in the band, not only in the means', () => {
    const s = summarise([[0, 1, 2], [5, 6, 7], [4, 1, 6], [6, 9, 8]]);
    expect(s.low).toEqual({ ts: 1, value: 1 });
    expect(s.high).toEqual({ ts: 1, value: 9 });
    expect(s.last).toEqual({ ts: 2, value: 7 });
  });

  it('counts gaps between readings only', () => {
    expect(summarise([[0, 1, 2, 3, 4], [null, 1, null, null, 2], [], []]).gaps).toBe(1);
    expect(summarise([[0, 1, 2], [1, 2, null], [], []]).gaps).toBe(0);
  });

  it('says it in one sentence', () => {
    const s = summarise(columns(flat([0, 10, 20, 100], [1, 2, 3, 4]), 30));
    expect(sentence('Flow', 'm3/h', s, 'the last hour').replace(/\u00a0/g, ' ')).toBe('Flow: last 4 m³/h, between 1 and 4 m³/h in the last hour, rising, with one gap.');
    expect(sentence('Flow', 'm3/h', summarise([[], [], [], []]), 'the last hour')).toBe('Flow: no readings in the last hour.');
  });
});

describe('thin', () => {
  it('keeps the first and the last', () => {
    const rows = Array.from({ length: 1000 }, (_, i) => i);
    const kept = thin(rows, 50);
    expect(kept).toHaveLength(50);
    expect([kept[0], kept[49]]).toEqual([0, 999]);
    expect(thin([1, 2], 50)).toEqual([1, 2]);
  });
});
