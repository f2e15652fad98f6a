// uPlot as a component. The library itself is fetched with the first chart.

import { useEffect, useRef } from 'preact/hooks';
import type { Plot, PlotSpec } from './plot';
import { onColours } from './theme';

export function Chart({ spec, label }: { spec: PlotSpec; label: string }) {
  const host = useRef<HTMLDivElement>(null);
  const shown = useRef<Plot | null>(null);
  const latest = useRef(spec);
  latest.current = spec;
  useEffect(() => {
    const el = host.current;
    if (!el) return;
    let gone = false;
    let watch: ResizeObserver | undefined;
    void import('./plot').then(({ plot }) => {
      if (gone) return;
      shown.current = plot(el, latest.current);
      watch = new ResizeObserver(() => shown.current?.resize(el.clientWidth));
      watch.observe(el);
    });
    const off = onColours(() => shown.current?.update(latest.current));
    return () => {
      gone = true;
      off();
      watch?.disconnect();
      shown.current?.destroy();
      shown.current = null;
    };
  }, []);
  useEffect(() => shown.current?.update(spec), [spec]);
  return <div ref={host} class={`plot${spec.height > 180 ? ' tall' : ''}`} role="img" aria-label={label} />;
}
