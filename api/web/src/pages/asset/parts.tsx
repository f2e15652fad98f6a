// Health together with the parts: what decides, the way to it, and how much is known.

import type { Asset } from '../../api/types';
import { num, words } from '../../lib/format';
import { coverageText } from '../../lib/health';
import { HealthBar, Tag } from '../../ui/parts';

/** To a tenth: parts are compared with each other. */
const points = (health: number): string => num(Math.round(health * 10) / 10, 3);

export function PartsCard({ asset }: { asset: Asset }) {
  const r = asset.rolled_up;
  const worst = r.worst_part;
  if (r.parts === 0 && !worst) return null;
  const unknown = r.parts - r.parts_fresh;
  return (
    <section class="card" aria-labelledby="h-parts">
      <header><h2 id="h-parts">Health with its parts</h2><span class="small muted end">{coverageText(r, true)}</span></header>
      <div class="body">
        <HealthBar value={r.value} stale={r.stale} />
        <p>
          {asset.health ? <>Own <b class="strong">{points(asset.health.value)}</b></> : 'Not assessed itself'}
          {worst ? <>, worst part: <a class="strong" href={`/fleet/${worst.id}`}>{worst.name}</a> at <b class="strong">{points(worst.health)}</b> ({words(worst.criticality).toLowerCase()}{worst.stale && ', silent since'}).</> : ', no part assessed yet.'}
        </p>
        {worst && worst.path.length > 1 && (
          <p class="small">{worst.path.map((p, i) => <span key={p.id}>{i > 0 && ' / '}<a href={`/fleet/${p.id}`}>{p.name}</a></span>)}</p>
        )}
        {worst && worst.leaves > worst.health && (
          <p class="small muted">A part of {words(worst.criticality).toLowerCase()} criticality with {points(worst.health)} leaves {points(worst.leaves)}{r.by_part ? '' : ', more than its own health'}.</p>
        )}
        {unknown > 0 && <p class="small"><Tag shape="dashed">{unknown} of {r.parts} not known</Tag></p>}
      </div>
    </section>
  );
}
