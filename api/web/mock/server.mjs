// A stand-in for the API, for working on the pages alone: `npm run mock`, then http://127.0.0.1:8099.
// It serves the built pages with the same headers as the real server, and answers from mock/data.mjs.

import { createServer } from 'node:http';
import { readFile } from 'node:fs/promises';
import { extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build, TENANTS, valueAt, MODEL } from './data.mjs';

const { H, iso } = MODEL;
const DIST = fileURLToPath(new URL('../dist', import.meta.url));
const TYPES = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml', '.woff2': 'font/woff2' };
const CSP = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'";

export const EMAIL = 'demo@forewarn.example';
export const PASSWORD = 'mock-password';
const PERMISSIONS = ['assets:read', 'alarms:read', 'alarms:act', 'cases:read', 'predictions:act', 'tickets:read', 'tickets:write', 'plans:read', 'ingest:read', 'ingest:write'];

export function start(port = 8099) {
  const world = build();
  const streams = new Set();
  let eventId = 0;

  const session = (tenantAt) => ({
    token: `mock-${tenantAt}`, expires_at: iso(Date.now() + 8 * H), user: { id: 'usr_1', name: 'Ada Pieters', email: EMAIL },
    tenant: TENANTS[tenantAt], role: 'tenant_admin', permissions: PERMISSIONS, tenants: TENANTS.map((t) => ({ ...t, role: 'tenant_admin' })),
  });

  const emit = (kind, subject, asset_id) => {
    const text = `id: ${++eventId}\nevent: ${kind}\ndata: ${JSON.stringify({ id: eventId, kind, at: iso(Date.now()), subject, asset_id, data: {} })}\n\n`;
    for (const res of streams) res.write(text);
  };

  const server = createServer((req, res) => {
    handle(req, res).catch((error) => {
      console.error(error);
      problem(res, 500, 'Internal error', String(error));
    });
  });

  async function handle(req, res) {
    const url = new URL(req.url, 'http://mock');
    if (!url.pathname.startsWith('/v1/')) return page(url.pathname, res);
    const tenant = /^Bearer mock-(\d)$/.exec(req.headers.authorization ?? '')?.[1];
    const body = req.method === 'GET' ? {} : JSON.parse((await text(req)) || '{}');
    if (url.pathname === '/v1/sign-in') {
      if (body.email !== EMAIL || body.password !== PASSWORD) return problem(res, 401, 'Sign-in failed', 'The address or the password is wrong.');
      return json(res, session(0));
    }
    if (tenant === undefined) return problem(res, 401, 'Not signed in', 'Send a token.');
    const t = Number(tenant);
    if (url.pathname === '/v1/stream') {
      res.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
      res.write(': hello\n\n');
      streams.add(res);
      req.on('close', () => streams.delete(res));
      return;
    }
    api(req.method, url, body, t, res, req);
  }

  const mine = (list, t) => list.filter((x) => x.tenant === t);
  const strip = ({ tenant, wear, stale, code, spare, assessment, ...rest }) => rest;

  /** As the server does it, for parts of one level; `own` is missing of a site. */
  function rolledUp(parts, own) {
    const reach = { low: 0.5, medium: 0.75, high: 0.875, critical: 1 };
    const known = parts.filter((p) => p.assessment).map((p) => ({ p, leaves: reach[p.criticality] * p.assessment.health + (1 - reach[p.criticality]) * 100 })).sort((x, y) => x.leaves - y.leaves);
    const [worst] = known;
    const by_part = Boolean(worst && !(own?.assessment && own.assessment.health <= worst.leaves));
    const fresh = known.filter(({ p }) => !p.stale).length;
    const times = [...known.map(({ p }) => p), ...(own?.assessment ? [own] : [])].map((p) => p.assessment.window_end).sort();
    const decides = by_part ? worst.p : own;
    return {
      value: by_part ? worst.leaves : own?.assessment?.health ?? null, stale: Boolean(decides?.stale), by_part, parts: parts.length, parts_fresh: fresh, coverage: parts.length ? fresh / parts.length : null,
      worst_part: worst ? { id: worst.p.id, name: worst.p.name, criticality: worst.p.criticality, health: worst.p.assessment.health, leaves: worst.leaves, as_of: worst.p.assessment.window_end, stale: worst.p.stale, path: [{ id: worst.p.id, name: worst.p.name }] } : null,
      oldest_as_of: times[0] ?? null, oldest_age_s: times[0] ? (Date.now() - Date.parse(times[0])) / 1000 : null,
    };
  }
  const withParts = (a) => rolledUp(world.assets.filter((p) => p.parent_id === a.id && !p.spare), a);

  function assetView(a) {
    const s = a.assessment;
    const top = s?.factors[0];
    return {
      ...strip(a),
      health: s ? { value: s.health, coverage: s.coverage, freshness_s: s.freshness_s, as_of: s.window_end, stale: a.stale, top_factor: top && top.penalty > 0.5 ? { name: top.name, text: top.text, penalty: top.penalty } : null } : null,
      rolled_up: withParts(a),
      p_fail_30d: s ? { p: s.p_fail[2].p, low: s.p_fail[2].low, high: s.p_fail[2].high } : null,
      alarms_active: world.alarms.filter((x) => x.asset.id === a.id && x.condition === 'active').length,
      tickets_open: world.tickets.filter((x) => x.asset.id === a.id).length,
    };
  }

  const channelView = (c) => {
    const at = Date.now() - (Date.now() % (c.cadence_s * 1000)) - (c.asset.stale ? 7 * H : 0);
    return { id: c.id, name: c.name, label: c.label, unit: c.unit, kind: c.kind, device: c.device, gateway: c.gateway, cadence_s: c.cadence_s, latest: { ts: iso(at), value: valueAt(c, at, world.started), quality: 0 } };
  };

  function series(c, from, to, points) {
    const step = c.cadence_s * 1000;
    const end = Math.min(to, Date.now() - (c.asset.stale ? 7 * H : 0));
    const raw = (end - from) / step <= points;
    const bucket = raw ? step : Math.ceil((to - from) / points / step) * step;
    const out = { ts: [], min: [], max: [], mean: [], n: [] };
    for (let b = Math.ceil(from / bucket) * bucket; b < end; b += bucket) {
      // Half an hour of silence, eleven hours ago.
      const ago = (world.started - b) / H;
      if (ago > 10.8 && ago < 11.5) continue;
      const v = raw ? [valueAt(c, b, world.started)] : Array.from({ length: 6 }, (_, i) => valueAt(c, b + (bucket * i) / 6, world.started));
      out.ts.push(b / 1000);
      out.min.push(Math.min(...v));
      out.max.push(Math.max(...v));
      out.mean.push(v.reduce((s, x) => s + x, 0) / v.length);
      out.n.push(bucket / step);
    }
    return { channel: { id: c.id, name: c.name, unit: c.unit }, from: iso(from), to: iso(to), bucket_s: raw ? 0 : bucket / 1000, raw, gap_s: (3 * bucket) / 1000, data: out };
  }

  function api(method, url, body, t, res, req) {
    const [, , kind, key, sub, subKey, verb] = url.pathname.split('/');
    const q = url.searchParams;
    const list = (rows) => {
      const limit = Number(q.get('limit') ?? 50);
      const from = Number(q.get('cursor') ?? 0);
      const next = from + limit < rows.length ? String(from + limit) : null;
      json(res, { data: rows.slice(from, from + limit), next_cursor: next, has_more: next !== null });
    };
    const byAsset = (rows) => (q.get('asset_id') ? rows.filter((r) => (r.asset?.id ?? r.asset_id) === q.get('asset_id')) : rows);
    const find = (rows) => rows.find((r) => r.id === key && r.tenant === t);
    const change = (row, done) => {
      const want = req.headers['if-match'];
      if (want && want !== `"v${row.row_version}"`) return problem(res, 412, 'It has changed', 'Somebody changed it since it was read.');
      done(row);
      row.row_version++;
      row.updated_at = iso(Date.now());
      return json(res, strip(row));
    };
    const gone = () => problem(res, 404, 'Not found', 'There is no such thing in this tenant.');

    switch (kind) {
      case 'refresh': return json(res, session(t));
      case 'switch-tenant': {
        const at = TENANTS.findIndex((x) => x.slug === body.tenant || x.id === body.tenant);
        return at < 0 ? problem(res, 403, 'Not a member', 'You are not a member of that tenant.') : json(res, session(at));
      }
      case 'overview': {
        const assets = mine(world.assets, t).filter((a) => !a.spare);
        const grades = (health, name) => ({ [`${name}_healthy`]: health.filter((h) => h >= 80).length, [`${name}_watch`]: health.filter((h) => h >= 50 && h < 80).length, [`${name}_poor`]: health.filter((h) => h < 50).length });
        const health = assets.map((a) => a.assessment?.health).filter((h) => h !== undefined);
        const rolled = assets.map(withParts).filter((r) => r.value !== null);
        const sites = mine(world.sites, t).map((s) => {
          const there = assets.filter((a) => a.site.id === s.id);
          return { id: s.id, name: s.name, rolled_up: rolledUp(there), areas: s.areas.map((area) => ({ ...area, rolled_up: rolledUp(there.filter((a) => a.area.id === area.id)) })) };
        });
        const today = mine(world.ledger, t).filter((l) => l.day === iso(Date.now()).slice(0, 10));
        const sum = (name) => today.reduce((s, l) => s + l[name], 0);
        const alarms = mine(world.alarms, t).filter((a) => a.condition === 'active');
        return json(res, {
          tenant: TENANTS[t],
          counts: { assets: assets.length, ...grades(health, 'assets'), ...grades(rolled.map((r) => r.value), 'rolled_up'), rolled_up_by_part: rolled.filter((r) => r.by_part && r.value < 80).length, alarms_active: alarms.length, alarms_unacked: alarms.filter((a) => !a.acked_at).length, cases_open: mine(world.cases, t).length, tickets_open: mine(world.tickets, t).length, predictions_open: mine(world.predictions, t).filter((p) => p.status === 'new' || p.status === 'in_review').length, plans_due: mine(world.plans, t).filter((p) => p.open_occurrence).length },
          sites,
          ingest: { readings_today: sum('stored') + Math.round((Date.now() - world.started) / 1000) * 12, readings_per_s: 12.4, rejected_today: sum('rejected'), duplicate_today: sum('duplicate'), last_received_at: iso(Date.now() - 800) }, as_of: iso(Date.now()),
        });
      }
      case 'sites': return list(mine(world.sites, t).map(strip));
      case 'assets': {
        if (!key) return list(mine(world.assets, t).map(assetView));
        const a = find(world.assets);
        if (!a) return gone();
        if (!sub) return json(res, assetView(a));
        if (sub === 'channels') return list(world.channels.filter((c) => c.asset === a).map(channelView));
        if (!a.assessment) return problem(res, 404, 'Not assessed', 'There is no assessment of this asset yet.');
        if (sub === 'assessment') return json(res, a.assessment);
        if (sub === 'assessments') {
          const rows = [];
          const to = Math.min(Date.parse(q.get('to')), Date.now());
          for (let ts = Math.max(Date.parse(q.get('from')), Date.now() - 6 * 24 * H); ts < to; ts += H) {
            const share = Math.exp(-(Date.now() - ts) / (24 * H) / 4);
            rows.push({ ...a.assessment, window_end: iso(ts), health: 100 - (100 - a.assessment.health) * (a.wear < 0.13 ? 1 : share) + Math.sin(ts / H) * 0.8 });
          }
          return list(rows.reverse());
        }
        return gone();
      }
      case 'channels': {
        const c = world.channels.find((x) => x.id === key && x.asset.tenant === t);
        if (!c) return gone();
        return json(res, series(c, Date.parse(q.get('from')), Date.parse(q.get('to')), Number(q.get('points') ?? 600)));
      }
      case 'alarms': {
        if (!key) {
          const state = q.get('state') ?? 'all';
          return list(byAsset(mine(world.alarms, t)).filter((a) => (!q.get('severity') || a.severity === q.get('severity')) && (state === 'all' || (state === 'shelved' ? a.suppression === 'shelved' : a.condition === 'active' && a.suppression === 'none' && (state === 'active' || !a.acked_at)))).map(strip));
        }
        const a = find(world.alarms);
        if (!a) return gone();
        if (method === 'GET') return json(res, strip(a));
        const note = (what, detail = {}) => { a.events.push({ at: iso(Date.now()), kind: what, actor: 'Ada Pieters', detail }); setTimeout(() => emit(`alarm.${what}`, a.id, a.asset.id), 50); };
        if (sub === 'ack') return change(a, () => { a.acked_at = iso(Date.now()); a.acked_by = 'Ada Pieters'; note('acknowledged', body); });
        if (sub === 'shelve') return change(a, () => { a.suppression = 'shelved'; a.suppressed_until = body.until; note('shelved', body); });
        if (sub === 'unshelve') return change(a, () => { a.suppression = 'none'; a.suppressed_until = null; note('unshelved'); });
        return gone();
      }
      case 'cases': {
        const view = (c) => ({ ...strip(c), alarms: world.alarms.filter((a) => a.case_id === c.id).length, ticket: c.ticket ?? null });
        if (!key) return list(byAsset(mine(world.cases, t)).map(view));
        const c = find(world.cases);
        if (!c) return gone();
        return json(res, { ...view(c), alarms: world.alarms.filter((a) => a.case_id === c.id).map(strip), predictions: world.predictions.filter((p) => p.case_id === c.id).map(strip), tickets: c.ticket ? [c.ticket] : [], decisions: world.decisions.filter((d) => d.case_id === c.id).map(strip) });
      }
      case 'predictions': {
        if (!key) return list(byAsset(mine(world.predictions, t)).filter((p) => !q.get('status') || q.get('status').split(',').includes(p.status)).map(strip));
        const p = find(world.predictions);
        if (!p) return gone();
        if (method === 'GET') return json(res, strip(p));
        const to = { claim: 'in_review', accept: 'accepted', dismiss: 'dismissed', snooze: 'snoozed' }[sub];
        return to ? change(p, () => { p.status = to; setTimeout(() => emit('prediction.changed', p.id, p.asset.id), 50); }) : gone();
      }
      case 'tickets': {
        const brief = ({ tasks, events, ...x }) => strip(x);
        if (!key) return list(byAsset(mine(world.tickets, t)).filter((x) => (!q.get('status') || q.get('status').split(',').includes(x.status)) && (!q.get('mine') || x.assignee?.name === 'Ada Pieters')).map(brief));
        const x = find(world.tickets);
        if (!x) return gone();
        if (!sub) return json(res, { ...strip(x), decision: world.decisions.find((d) => d.ticket_id === x.id) ?? null });
        if (sub === 'transitions' && method === 'GET') {
          const next = { open: ['accepted', 'cancelled'], accepted: ['planned', 'in_progress', 'on_hold', 'cancelled'], planned: ['in_progress', 'cancelled'], in_progress: ['completed', 'on_hold'], on_hold: ['in_progress'], completed: ['closed'] }[x.status] ?? [];
          const undone = x.tasks.filter((k) => k.mandatory && !k.done_at);
          return json(res, { data: [...next.map((to) => ({ to, allowed: to !== 'completed' || undone.length === 0, missing: to === 'completed' ? undone.map((k) => ({ code: 'tasks.open', detail: `do the task “${k.text}”` })) : to === 'cancelled' || to === 'on_hold' ? [{ code: 'reason.missing', detail: 'say why' }] : [] })), ...(x.status === 'accepted' ? [{ to: 'assigned', allowed: false, missing: x.assignee ? [{ code: 'schedule.missing', detail: 'set scheduled_start and a later scheduled_end' }] : [{ code: 'assignee.missing', detail: 'name the person who does it: set assignee_id' }] }] : [])] });
        }
        if (sub === 'transitions') return change(x, () => { x.events.push({ at: iso(Date.now()), kind: 'transitioned', actor: 'Ada Pieters', detail: { from: x.status, to: body.to, reason: body.reason ?? '' } }); x.status = body.to; setTimeout(() => emit('ticket.transitioned', x.id, x.asset.id), 50); });
        if (sub === 'comments') return change(x, () => { x.events.push({ at: iso(Date.now()), kind: 'comment', actor: 'Ada Pieters', detail: { text: body.text } }); });
        if (sub === 'tasks' && verb === 'done') return change(x, () => { const k = x.tasks.find((y) => y.id === subKey); Object.assign(k, { done_at: iso(Date.now()), done_by: 'Ada Pieters', result: body.result }); });
        return gone();
      }
      case 'plans': return list(byAsset(mine(world.plans, t)).map(strip));
      case 'decisions': return list(byAsset(mine(world.decisions, t)).map(strip));
      case 'events': return list(world.events.filter((e) => e.asset_id === q.get('asset_id')));
      case 'ledger': return list(mine(key === 'gaps' ? world.gaps : world.ledger, t).map(strip));
      case 'dead-letters': {
        if (!key) return list(mine(world.deadLetters, t).filter((d) => !q.get('open') || !d.discarded_at).map(({ payload, payload_base64, ...d }) => strip(d)));
        const d = find(world.deadLetters);
        if (!d) return gone();
        if (sub === 'discard') { d.discarded_at = iso(Date.now()); return json(res, strip(d)); }
        return json(res, strip(d));
      }
      default: return gone();
    }
  }

  const beat = setInterval(() => { for (const s of streams) s.write(': beat\n\n'); }, 15_000);
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', () => resolve({
      url: `http://127.0.0.1:${server.address().port}`,
      close: () => { clearInterval(beat); for (const s of streams) s.destroy(); server.closeAllConnections?.(); return new Promise((done) => server.close(done)); },
    }));
  });
}

async function page(path, res) {
  const file = normalize(path).replace(/^([/\\]|\.\.)+/, '');
  const headers = { 'content-security-policy': CSP, 'x-content-type-options': 'nosniff', 'referrer-policy': 'same-origin' };
  for (const candidate of [file, 'index.html']) {
    if (!candidate) continue;
    try {
      const data = await readFile(join(DIST, candidate));
      res.writeHead(200, { ...headers, 'content-type': TYPES[extname(candidate)] ?? 'application/octet-stream', 'cache-control': candidate.startsWith('assets/') ? 'public, max-age=31536000, immutable' : 'no-cache' });
      return res.end(data);
    } catch (error) {
      if (error.code !== 'ENOENT' && error.code !== 'EISDIR') throw error;
    }
  }
  res.writeHead(404, headers);
  res.end('Not built: npm run build');
}

function json(res, body, status = 200) {
  res.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store' });
  res.end(JSON.stringify(body));
}

function problem(res, status, title, detail) {
  res.writeHead(status, { 'content-type': 'application/problem+json' });
  res.end(JSON.stringify({ type: 'about:blank', title, status, detail, trace_id: 'mock' }));
}

function text(req) {
  return new Promise((resolve, reject) => {
    let all = '';
    req.on('data', (part) => { all += part; });
    req.on('end', () => resolve(all));
    req.on('error', reject);
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { url } = await start(Number(process.env.PORT ?? 8099));
  console.log(`mock API and pages: ${url}   sign in as ${EMAIL} / ${PASSWORD}`);
}
