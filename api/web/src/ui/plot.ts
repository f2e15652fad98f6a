// uPlot set up the way these pages draw: one quiet line, a band for min/max, gaps as gaps, the site's zone on the
// axis. Everything is styled from the CSS variables, so that a change of theme needs only a redraw.

import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import { num } from '../lib/format';

/** A stretch of time in which an alarm was active, or one moment. */
export interface Mark {
  from: number;
  to: number;
  label: string;
  tone: 'watch' | 'poor' | 'none';
}

/** A horizontal line: an alarm limit. */
export interface Level {
  value: number;
  tone: 'watch' | 'poor' | 'none';
}

export interface PlotSpec {
  zone: string;
  /** x, then one column per line, or mean/min/max when `band`. */
  data: (number | null)[][];
  band: boolean;
  colours: string[];
  from: number;
  to: number;
  marks: Mark[];
  levels: Level[];
  fixed?: [number, number];
  height: number;
  sync?: string;
  onCursor?: (index: number | null) => void;
  onZoom?: (from: number, to: number) => void;
}

const css = (name: string): string => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

export interface Plot {
  update(spec: PlotSpec): void;
  resize(width: number): void;
  destroy(): void;
}

export function plot(host: HTMLElement, first: PlotSpec): Plot {
  let spec = first;
  let chart = make();

  function make(): uPlot {
    const ink = css('--ink-3');
    const line = css('--line');
    const font = `12px ${css('--font')}`;
    const series: uPlot.Series[] = [{}];
    if (spec.band) {
      const stroke = css(spec.colours[0] ?? '--plot');
      series.push({ stroke, width: 1.5, points: { show: false } }, { width: 0, points: { show: false } }, { width: 0, points: { show: false } });
    } else {
      spec.colours.forEach((name, i) => series.push({
        stroke: css(name), width: 1.5, dash: [[], [7, 4], [2, 3], [9, 3, 2, 3]][i % 4] ?? [],
        // A single reading between two gaps has no line: a dot keeps it visible.
        points: { show: (u, s) => lonely(u, s), size: 5, fill: css(name) },
      }));
    }
    const options: uPlot.Options = {
      width: Math.max(120, host.clientWidth),
      height: spec.height,
      tzDate: (ts) => uPlot.tzDate(new Date(ts * 1e3), spec.zone),
      legend: { show: false },
      padding: [10, 12, 0, 0],
      cursor: {
        // One point on the mean: on the edges of the band they would say nothing.
        points: { size: (_u, s) => (spec.band && s > 1 ? 0 : 7), width: (_u, s) => (spec.band && s > 1 ? 0 : 2), fill: css('--surface') },
        drag: { x: Boolean(spec.onZoom), y: false },
        ...(spec.sync ? { sync: { key: spec.sync, setSeries: false } } : {}),
      },
      select: { show: Boolean(spec.onZoom), left: 0, top: 0, width: 0, height: 0 },
      scales: {
        x: { time: true, range: () => [spec.from, spec.to] },
        y: { range: (_u, low, high) => (spec.fixed ? [...spec.fixed] : padded(low, high)) },
      },
      axes: [
        { stroke: ink, font, grid: { show: false }, ticks: { stroke: line, size: 5 }, gap: 4, size: 34, space: 76, values: (_u, splits) => clockValues(splits, (ts) => uPlot.tzDate(new Date(ts * 1e3), spec.zone)) },
        { stroke: ink, font, grid: { stroke: line, width: 1 }, ticks: { show: false }, gap: 6, size: 58, space: 36, values: (_u, splits) => splits.map((v) => num(v, 5)) },
      ],
      series,
      hooks: {
        drawClear: [drawMarks],
        draw: [drawLevels],
        setCursor: [(u) => spec.onCursor?.(u.cursor.idx ?? null)],
        setSelect: [(u) => {
          if (u.select.width < 8 || !spec.onZoom) return;
          spec.onZoom(u.posToVal(u.select.left, 'x'), u.posToVal(u.select.left + u.select.width, 'x'));
          u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
        }],
      },
    };
    if (spec.band) options.bands = [{ series: [3, 2], fill: translucent(css(spec.colours[0] ?? '--plot')) }];
    return new uPlot(options, spec.data as uPlot.AlignedData, host);
  }

  function drawMarks(u: uPlot): void {
    const { ctx, bbox } = u;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    for (const mark of spec.marks) {
      if (mark.to < spec.from || mark.from > spec.to) continue;
      const x0 = u.valToPos(Math.max(mark.from, spec.from), 'x', true);
      const x1 = Math.max(x0 + 2 * devicePixelRatio, u.valToPos(Math.min(mark.to, spec.to), 'x', true));
      ctx.globalAlpha = 0.5;
      ctx.fillStyle = css(mark.tone === 'none' ? '--sunk' : `--${mark.tone}-soft`);
      ctx.fillRect(x0, bbox.top, x1 - x0, bbox.height);
      ctx.globalAlpha = 1;
      ctx.fillStyle = css(mark.tone === 'none' ? '--ink-3' : `--${mark.tone}-fill`);
      ctx.fillRect(x0, bbox.top, x1 - x0, 3 * devicePixelRatio);
      // Where it began: a small flag, unless that is before the left edge.
      if (mark.from >= spec.from) {
        const s = 10 * devicePixelRatio;
        ctx.beginPath();
        ctx.moveTo(x0, bbox.top);
        ctx.lineTo(x0 + s, bbox.top);
        ctx.lineTo(x0, bbox.top + s);
        ctx.fill();
      }
    }
    ctx.restore();
  }

  function drawLevels(u: uPlot): void {
    const { ctx, bbox } = u;
    const scale = u.scales['y'];
    ctx.save();
    for (const level of spec.levels) {
      if (scale?.min == null || scale.max == null || level.value < scale.min || level.value > scale.max) continue;
      const y = u.valToPos(level.value, 'y', true);
      ctx.strokeStyle = css(level.tone === 'none' ? '--ink-3' : `--${level.tone}-fill`);
      ctx.lineWidth = devicePixelRatio;
      ctx.setLineDash([6 * devicePixelRatio, 4 * devicePixelRatio]);
      ctx.beginPath();
      ctx.moveTo(bbox.left, y);
      ctx.lineTo(bbox.left + bbox.width, y);
      ctx.stroke();
    }
    ctx.restore();
  }

  function padded(low: number | null, high: number | null): [number, number] {
    if (low == null || high == null) return [0, 1];
    // A limit close by is worth seeing; one far away would flatten the line.
    const room = Math.max(high - low, Math.abs(high) * 0.02, 1e-9);
    for (const level of spec.levels) {
      if (level.value > high && level.value - high < room * 1.5) high = level.value;
      if (level.value < low && low - level.value < room * 1.5) low = level.value;
    }
    const pad = Math.max((high - low) * 0.08, Math.abs(high) * 0.01, 1e-9);
    return [low >= 0 && low - pad < 0 ? 0 : low - pad, high + pad];
  }

  return {
    update(next) {
      const rebuild = next.band !== spec.band || next.zone !== spec.zone || next.colours.length !== spec.colours.length || next.height !== spec.height || next === spec; // the same spec again: the colours changed
      spec = next;
      if (rebuild) {
        chart.destroy();
        chart = make();
      } else {
        chart.setData(spec.data as uPlot.AlignedData, true);
      }
    },
    resize(width) {
      if (width > 0 && Math.abs(width - chart.width) >= 1) chart.setSize({ width: Math.max(120, width), height: spec.height });
    },
    destroy() {
      chart.destroy();
    },
  };
}

function lonely(u: uPlot, s: number): boolean {
  const column = u.data[s] ?? [];
  let seen = 0;
  for (const v of column) if (v != null && ++seen > 40) return false;
  return seen > 0;
}

function translucent(colour: string): string {
  return /^#[0-9a-f]{6}$/i.test(colour) ? `${colour}30` : colour;
}

/** Clock on the axis; at midnight, and where the ticks are days, the date. */
function clockValues(splits: number[], local: (ts: number) => Date): string[] {
  const step = splits.length > 1 ? splits[1]! - splits[0]! : 0;
  return splits.map((ts) => {
    const d = local(ts);
    const midnight = d.getHours() === 0 && d.getMinutes() === 0 && d.getSeconds() === 0;
    if (step >= 86_400 || midnight) return `${d.getDate()} ${MONTHS[d.getMonth()]}`;
    const clock = `${two(d.getHours())}:${two(d.getMinutes())}`;
    return step > 0 && step < 60 ? `${clock}:${two(d.getSeconds())}` : clock;
  });
}

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];
const two = (n: number): string => String(n).padStart(2, '0');
