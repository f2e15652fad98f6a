// A made-up plant for working on the pages without a server. Nothing here is measured.

/** Small seeded generator (mulberry32), so that every start shows the same plant. */
export function seeded(seed) {
  let a = seed >>> 0;
  return () => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

const H = 3600_000;
const D = 24 * H;
const iso = (ms) => new Date(ms).toISOString();
let serial = 0;
const id = (prefix) => `${prefix}_0192f0c5${String(++serial).padStart(4, '0')}7000800000000000${String(serial).padStart(4, '0')}`;

export const TENANTS = [
  { id: id('ten'), slug: 'northmill', name: 'Northmill Works' },
  { id: id('ten'), slug: 'harbour-turbines', name: 'Harbour Turbines' },
];

const MODES = {
  bearing_wear: { code: 'bearing_wear', name: 'Bearing wear' },
  seal_leak: { code: 'seal_leak', name: 'Seal leak' },
  fouling: { code: 'fouling', name: 'Fouling' },
  filter_clogging: { code: 'filter_clogging', name: 'Filter clogging' },
  compressor_wear: { code: 'hpc_degradation', name: 'High-pressure compressor degradation' },
};
for (const mode of Object.values(MODES)) mode.id = id('fmo');

const CLASSES = {
  pump: { name: 'Centrifugal pump', mode: MODES.seal_leak, channels: [['vibration_rms', 'Vibration, drive end', 'mm/s', 1.6, 0.12], ['bearing_temp', 'Bearing temperature', 'Cel', 54, 1.2], ['flow', 'Flow', 'm3/h', 118, 2.2], ['discharge_pressure', 'Discharge pressure', 'bar', 6.2, 0.08], ['power', 'Power', 'kW', 31, 0.8]] },
  compressor: { name: 'Screw compressor', mode: MODES.filter_clogging, channels: [['outlet_temp', 'Outlet temperature', 'Cel', 78, 1.4], ['filter_dp', 'Filter differential pressure', 'mbar', 42, 2], ['outlet_pressure', 'Outlet pressure', 'bar', 7.4, 0.1], ['power', 'Power', 'kW', 88, 2]] },
  hvac: { name: 'Air handling unit', mode: MODES.fouling, channels: [['supply_temp', 'Supply air temperature', 'Cel', 18.4, 0.4], ['fan_current', 'Fan current', 'A', 9.2, 0.2], ['filter_dp', 'Filter differential pressure', 'Pa', 130, 6]] },
  rig: { name: 'Bearing test rig', mode: MODES.bearing_wear, channels: [['b1_rms', 'Bearing 1 RMS', '[g]', 0.081, 0.003], ['b1_kurtosis', 'Bearing 1 kurtosis', '1', 3.4, 0.12], ['b2_rms', 'Bearing 2 RMS', '[g]', 0.075, 0.003], ['b3_rms', 'Bearing 3 RMS', '[g]', 0.083, 0.003]] },
  turbofan: { name: 'Turbofan engine', mode: MODES.compressor_wear, channels: [['t50', 'Temperature at LPT outlet', '[degR]', 1408, 4], ['p30', 'Pressure at HPC outlet', '[psi]', 553, 0.6], ['nf', 'Fan speed', '{rpm}', 2388, 0.4], ['phi', 'Fuel flow ratio', '1', 521.5, 0.5]] },
};
for (const [code, c] of Object.entries(CLASSES)) Object.assign(c, { id: id('cls'), code });

const SITES = [
  { tenant: 0, name: 'Rotterdam', time_zone: 'Europe/Amsterdam', areas: ['Water house', 'Hall 2', 'Roof'] },
  { tenant: 0, name: 'Houston', time_zone: 'America/Chicago', areas: ['Compressor house', 'Test bay'] },
  { tenant: 1, name: 'Hamburg', time_zone: 'Europe/Berlin', areas: ['Test cell A'] },
];

const PLAN = [
  // site, class, names, [wear 0-1 of those that are not well]
  [0, 'pump', ['P-101 Cooling water', 'P-102 Cooling water', 'P-201 Boiler feed', 'P-202 Boiler feed', 'P-301 Condensate', 'P-302 Condensate', 'P-302 Motor bearing'], { 1: 0.74, 4: 0.31, 6: 0.55 }],
  [0, 'hvac', ['AHU-1 Offices', 'AHU-2 Hall 2', 'AHU-3 Laboratory', 'AHU-4 Stores'], { 2: 0.42 }],
  [0, 'compressor', ['K-11 Instrument air', 'K-12 Instrument air'], {}],
  [1, 'compressor', ['K-21 Process air', 'K-22 Process air', 'K-23 Nitrogen', 'K-24 Spare'], { 1: 0.36 }],
  [1, 'rig', ['Bearing rig 2'], { 0: 0.86 }],
  [1, 'pump', ['P-401 Fire water', 'P-402 Fire water', 'P-403 Transfer'], {}],
  [2, 'turbofan', Array.from({ length: 20 }, (_, i) => `Engine ${String(i + 1).padStart(2, '0')}`), { 3: 0.5, 7: 0.78, 11: 0.33 }],
];

export function build(now = Date.now()) {
  serial = 100;
  const random = seeded(7);
  const sites = SITES.map((s) => ({ id: id('sit'), tenant: s.tenant, name: s.name, time_zone: s.time_zone, areas: s.areas.map((name) => ({ id: id('are'), name })) }));
  const gateways = sites.map((s) => ({ id: id('gtw'), slug: `${s.name.toLowerCase()}-01`, tenant: s.tenant, site: s }));
  const world = { sites, gateways, assets: [], channels: [], alarms: [], cases: [], predictions: [], tickets: [], plans: [], decisions: [], events: [], ledger: [], gaps: [], deadLetters: [], started: now };
  let chn = 0;
  let ticketNumber = 1040;
  const channelCount = new Map();

  for (const [siteAt, code, names, worn] of PLAN) {
    names.forEach((name, n) => {
      const site = sites[siteAt];
      const klass = CLASSES[code];
      const wear = worn[n] ?? random() * 0.12;
      const spare = /Spare/.test(name);
      const stale = name.startsWith('AHU-4');
      const asset = {
        id: id('ast'), tenant: site.tenant, name, class: { id: klass.id, name: klass.name },
        site: { id: site.id, name: site.name, time_zone: site.time_zone }, area: site.areas[n % site.areas.length],
        parent_id: null, status: spare ? 'in_storage' : name.startsWith('P-403') ? 'maintenance' : 'operational',
        criticality: code === 'turbofan' || /bearing/.test(name) || /Boiler|rig/.test(name) ? 'critical' : /Cooling|Process/.test(name) ? 'high' : 'medium',
        manufacturer: code === 'pump' ? 'KSB' : code === 'compressor' ? 'Kaeser' : null, model: code === 'pump' ? 'Etanorm 65-200' : null,
        serial_number: `SN-${4000 + serial}`, installed_at: '2021-05-17T00:00:00Z', row_version: 3,
        attributes: code === 'pump' ? { rated_power_kw: 37, medium: 'water' } : {}, children: [], wear, stale, code, spare,
      };
      world.assets.push(asset);
      const gateway = gateways[siteAt];
      klass.channels.forEach(([cname, label, unit, base, noise], c) => {
        // Which channels feel the wear, by how much of their base, and in which sense.
        const sense = { vibration_rms: 1.8, bearing_temp: 0.3, flow: -0.18, discharge_pressure: -0.12, power: 0.08, outlet_temp: 0.2, filter_dp: 1.4, fan_current: 0.2, b1_rms: 3.2, b1_kurtosis: 2.2, t50: 0.02, p30: -0.008, phi: -0.005 }[cname] ?? 0;
        world.channels.push({ id: `chn_${++chn}`, asset, name: cname, label, unit, kind: 'measurement', base, noise, sense, c, cadence_s: code === 'rig' ? 600 : code === 'turbofan' ? 60 : 10, device: { id: id('dev'), name: `${name.split(' ')[0].toLowerCase()}-plc` }, gateway: { id: gateway.id, slug: gateway.slug } });
        channelCount.set(gateway.id, (channelCount.get(gateway.id) ?? 0) + 1);
      });
      if (spare) return;
      asset.assessment = assess(asset, world.channels.filter((ch) => ch.asset === asset), klass, wear, now, stale);

      if (wear > 0.3) {
        const channel = world.channels.filter((ch) => ch.asset === asset).sort((a, b) => Math.abs(b.sense) - Math.abs(a.sense))[0];
        const severity = wear > 0.8 ? 'critical' : wear > 0.6 ? 'serious' : 'warning';
        const high = channel.sense > 0;
        const peak = channel.base * (1 + channel.sense * wear);
        const limit = channel.base * (1 + channel.sense * 0.3);
        const alarm = {
          id: id('alm'), tenant: site.tenant, asset: { id: asset.id, name }, rule: { id: id('rul'), name: `${channel.label} ${high ? 'high' : 'low'}`, kind: high ? 'high' : 'low' },
          channel: { id: channel.id, name: channel.label, unit: channel.unit }, failure_mode: klass.mode, severity, condition: 'active', acked_at: wear > 0.4 && wear < 0.7 ? iso(now - 3 * H) : null, acked_by: wear > 0.4 && wear < 0.7 ? 'Ada Pieters' : null,
          suppression: 'none', suppressed_until: null, pending_since: iso(now - 9 * H - wear * 10 * H), active_at: iso(now - 9 * H - wear * 10 * H + 300_000), cleared_at: null,
          first_value: limit * (high ? 1.01 : 0.99), last_value: peak * 0.99, peak_value: peak, limit_value: limit, flap_count: wear < 0.4 ? 3 : 0, case_id: null, row_version: 2,
          events: [{ at: iso(now - 9 * H), kind: 'raised', actor: 'ingest', detail: { value: limit * 1.01, limit } }, { at: iso(now - 9 * H + 300_000), kind: 'activated', actor: 'ingest', detail: {} }],
        };
        world.alarms.push(alarm);
        const healthAlarm = wear > 0.6 && {
          ...alarm, id: id('alm'), rule: { id: id('rul'), name: 'Health below 50', kind: 'health_below' }, channel: null, severity: 'serious', acked_at: null, acked_by: null,
          first_value: 49.2, last_value: asset.assessment.health, peak_value: asset.assessment.health, limit_value: 50, pending_since: iso(now - 5 * H), active_at: iso(now - 5 * H), flap_count: 0,
        };
        if (healthAlarm) world.alarms.push(healthAlarm);
        const kase = { id: id('cas'), tenant: site.tenant, title: `${klass.mode.name} on ${name}`, asset: { id: asset.id, name }, failure_mode: klass.mode, severity, opened_at: alarm.active_at, updated_at: iso(now - H), closed_at: null, close_reason: null, row_version: 1 };
        world.cases.push(kase);
        alarm.case_id = kase.id;
        if (healthAlarm) healthAlarm.case_id = kase.id;
        const p30 = asset.assessment.p_fail[2];
        if (wear > 0.35) world.predictions.push({ id: id('prd'), tenant: site.tenant, asset: { id: asset.id, name }, failure_mode: klass.mode, horizon_h: 720, status: wear > 0.8 ? 'accepted' : 'new', probability: p30.p, p_low: p30.low, p_high: p30.high, rul: asset.assessment.rul, factors: asset.assessment.factors, revision: 4, window_end: asset.assessment.window_end, case_id: kase.id, ticket_id: null, opened_at: iso(now - 6 * H), updated_at: iso(now - H), row_version: 4 });
        if (wear > 0.45) {
          const ticket = {
            id: id('tkt'), tenant: site.tenant, number: ++ticketNumber, title: `${klass.mode.name}: inspect ${name}`, description: `${asset.assessment.factors[0].text}.\nPlan the work before the middle of the expected remaining life.`,
            asset: { id: asset.id, name }, site: { id: site.id, name: site.name, time_zone: site.time_zone }, case_id: kase.id, origin: 'alarm', status: wear > 0.8 ? 'accepted' : 'open', priority: severity === 'critical' ? 'critical' : severity === 'serious' ? 'high' : 'medium',
            assignee: wear > 0.8 ? { id: id('usr'), name: 'Jonas Weber' } : null, due_at: iso(now + (wear > 0.8 ? -4 * H : 3 * D)), created_at: alarm.active_at, updated_at: iso(now - H), row_version: 2, failure_mode: klass.mode,
            tasks: [['check', 'Lock out and tag the drive'], ['number', 'Measure vibration at the drive end', 'mm/s', 0, 20], ['check', 'Inspect the seal and the coupling'], ['photo', 'Photograph what was found']].map(([kind, text, unit, min, max], i) => ({ id: id('tsk'), position: i + 1, kind, text, unit: unit ?? null, min_value: min ?? null, max_value: max ?? null, mandatory: i !== 3, result: null, done_at: i === 0 && wear > 0.8 ? iso(now - 2 * H) : null, done_by: i === 0 && wear > 0.8 ? 'Jonas Weber' : null })),
            events: [{ at: alarm.active_at, kind: 'created', actor: 'dispatch', detail: { text: `From the case “${kase.title}”` } }, ...(wear > 0.8 ? [{ at: iso(now - 3 * H), kind: 'transitioned', actor: 'Ada Pieters', detail: { from: 'open', to: 'accepted' } }] : [])],
          };
          world.tickets.push(ticket);
          kase.ticket = { id: ticket.id, number: ticket.number, status: ticket.status, priority: ticket.priority, title: ticket.title };
          world.decisions.push({ tenant: site.tenant, asset_id: asset.id, case_id: kase.id, subject: alarm.id, outcome: 'created', reason: `${alarm.rule.name} reached severity ${severity}; the policy asks for a ticket from serious on critical and high assets, and no ticket was open for this case.`, at: alarm.active_at, ticket_id: ticket.id, ticket_number: ticket.number });
          if (healthAlarm) world.decisions.push({ tenant: site.tenant, asset_id: asset.id, case_id: kase.id, subject: healthAlarm.id, outcome: 'attached', reason: `The case already has the open ticket #${ticket.number}; the alarm was added to it as evidence.`, at: healthAlarm.active_at, ticket_id: ticket.id, ticket_number: ticket.number });
        } else {
          world.decisions.push({ tenant: site.tenant, asset_id: asset.id, case_id: kase.id, subject: alarm.id, outcome: 'below_policy', reason: 'Severity warning on an asset of medium criticality: the policy asks for a ticket from serious, so somebody should look first.', at: alarm.active_at, ticket_id: null });
        }
        world.events.push({ asset_id: asset.id, device_id: 'dev_1', ts: iso(now - 20 * H), code: 'START', severity: 0, message: 'Started after a stop of 12 min' }, { asset_id: asset.id, device_id: 'dev_1', ts: iso(now - 44 * H), code: 'E-117', severity: 2, message: 'Overload relay tripped once' });
      }
      if (code === 'pump' || code === 'compressor') {
        const every = code === 'pump' ? 4000 : 2000;
        const toGo = wear > 0.7 ? -14 : Math.round(every * (0.08 + random() * 0.8));
        const open = toGo < 0;
        world.plans.push({ id: id('pln'), tenant: site.tenant, asset: { id: asset.id, name }, name: code === 'pump' ? 'Change bearing grease' : 'Change oil and filter', basis: 'floating', every_days: code === 'compressor' ? 180 : null, meter: { id: id('mtr'), name: 'Running hours', unit: 'h', total: 18_000 + Math.round(random() * 9000) }, every_units: every, units_to_go: toGo, next_due: open ? null : { date: iso(now + (toGo / 20) * D).slice(0, 10), low: iso(now + (toGo / 23) * D).slice(0, 10), high: iso(now + (toGo / 16) * D).slice(0, 10), explanation: `${toGo} h to go at 20 h a day over the last 30 days` }, open_occurrence: open ? { id: id('occ'), sequence: 4, status: 'due', due_date: iso(now - D).slice(0, 10), ticket_id: null } : null, enabled: true, row_version: 1 });
      }
    });
  }
  const whole = world.assets.find((a) => a.name === 'P-302 Condensate');
  const part = world.assets.find((a) => a.name === 'P-302 Motor bearing');
  part.parent_id = whole.id;
  whole.children.push({ id: part.id, name: part.name });
  for (const g of gateways) {
    for (let d = 0; d < 9; d++) {
      const received = Math.round(((channelCount.get(g.id) ?? 1) * 86_400) / (g.tenant ? 60 : 14)) * (d === 0 ? 0.4 : 1);
      const duplicate = d === 2 ? 1200 : Math.round(random() * 30);
      const rejected = d === 0 && g.tenant === 0 ? 7 : 0;
      const conflict = d === 3 ? 4 : 0;
      world.ledger.push({ tenant: g.tenant, gateway: { id: g.id, slug: g.slug }, day: iso(now - d * D).slice(0, 10), received: Math.round(received), stored: Math.round(received) - duplicate - rejected - conflict, duplicate, conflict, rejected, payloads: Math.round(received / 90), payloads_dead: d === 0 && g.tenant === 0 ? 1 : 0, closes: true });
    }
  }
  world.gaps.push({ id: 'gap1', tenant: 0, gateway: { id: gateways[0].id, slug: gateways[0].slug }, epoch: 3, first_seq: 88_120, last_seq: 88_124, seen_at: iso(now - 30 * H), closed_at: iso(now - 29 * H), lost_at: null });
  world.gaps.push({ id: 'gap2', tenant: 0, gateway: { id: gateways[1].id, slug: gateways[1].slug }, epoch: 1, first_seq: 402, last_seq: 409, seen_at: iso(now - 2 * D), closed_at: null, lost_at: iso(now - 2 * D + H) });
  const letter = (reason, detail, payload, format, readings, ago) => world.deadLetters.push({ id: id('dlt'), tenant: 0, gateway: { id: gateways[0].id, slug: gateways[0].slug }, received_at: iso(now - ago), topic: `fw/${gateways[0].slug}/json`, format, reason, detail, readings, replayed_at: null, discarded_at: null, ...payload });
  letter('too_far_in_future', 'ts 2031-01-01T00:00:00Z is more than 5 min ahead of the server; set the clock of the device.', { payload: '[{"device":"p-101-plc","channel":"flow","ts":"2031-01-01T00:00:00Z","value":118.2}]' }, 'readings', 1, 2 * H);
  letter('not_finite', 'value NaN of channel vibration_rms; send null or leave the reading out.', { payload: '[{"device":"p-102-plc","channel":"vibration_rms","ts":"2026-03-01T10:00:00Z","value":"NaN"}]' }, 'readings', 6, 5 * H);
  letter('malformed_json', 'expected `:` at line 1 column 14; send one JSON object per message.', { payload_base64: Buffer.from('{"device"\u0000 "p-1\u00ff').toString('base64') }, 'json', 0, 7 * H);
  return world;
}

function assess(asset, channels, klass, wear, now, stale) {
  const shares = channels.map((c) => ({ c, w: Math.abs(c.sense) })).sort((a, b) => b.w - a.w);
  const all = shares.reduce((sum, s) => sum + s.w, 0) || 1;
  const lost = wear < 0.13 ? wear * 40 : Math.min(96, wear * 92);
  const factors = shares.map(({ c, w }) => {
    const penalty = Math.round(((lost * w) / all) * 64) / 64;
    const value = c.base * (1 + c.sense * wear);
    return { name: c.name, penalty, value, expected: c.base, channel_id: c.id, text: penalty < 0.5 ? `${c.label} is where it should be` : `${c.label} is ${Math.round(Math.abs(value / c.base - 1) * 100)} % ${value > c.base ? 'above' : 'below'} what this load explains` };
  });
  const health = 100 - factors.reduce((sum, f) => sum + f.penalty, 0);
  const hazard = 0.02 + wear ** 3 * 1.6;
  const p_fail = [[24, 1 / 30], [168, 7 / 30], [720, 1]].map(([horizon_h, share]) => {
    const p = 1 - Math.exp(-hazard * share);
    return { horizon_h, p, low: p * 0.55, high: Math.min(0.99, p * 1.7), basis: 'Weibull over the class (shape 2.1, 38 lives, 9 censored), conditional on age and health',
      modes: [
        { failure_mode_id: klass.mode.id, name: klass.mode.name, p: p * 0.8, low: p * 0.35, high: Math.min(0.99, p * 1.5), basis: 'Weibull of 23 failures of it, those of other causes as suspensions' },
        { failure_mode_id: null, name: 'cause not recorded', p: p * 0.2, low: p * 0.05, high: p * 0.4, basis: 'Weibull of 6 failures of it, those of other causes as suspensions' },
      ] };
  });
  const end = now - (stale ? 7 * H : 40_000);
  return {
    asset_id: asset.id, window_start: iso(end - 6 * H), window_end: iso(end), assessed_at: iso(end + 20_000), health, anomaly: wear * 1.4, coverage: stale ? 0.41 : 0.98 + 0.02 * (1 - wear), freshness_s: 12, failure_mode: wear > 0.3 ? klass.mode : null,
    p_fail, rul: wear > 0.3 ? { p10_h: (1 - wear) * 210, p50_h: (1 - wear) * 480, p90_h: wear > 0.5 ? (1 - wear) * 900 : null } : null, factors,
    advice: wear > 0.8 ? { action: 'now', text: 'Vibration grows faster every hour: stop at the next safe moment and change the bearing.', cost_of_waiting: 18_400, cost_of_acting: 2100, by: iso(now + 20 * H), span_h: 8760, runner_up: 'next_stop', cheapest_from: iso(now), cheapest_to: iso(now + 20 * H), p_from: 0.11, action_low: 'next_stop',
      options: [
        { action: 'now', cost: 3120, cost_low: 3120, cost_high: 3120 },
        { action: 'next_stop', at: iso(now + 4 * D), cost: 4380, cost_low: 2950, cost_high: 7700, p_before: 0.21 },
        { action: 'date', at: iso(now + 7 * D), cost: 6100, cost_low: 3600, cost_high: 9800, p_before: 0.34 },
        { action: 'run_to_failure', cost: 19_400, cost_low: 17_100, cost_high: 20_200 },
      ] } : wear > 0.6 ? { action: 'plan', text: 'Change the seal within the week; a seal is in stock.', cost_of_waiting: 6400, cost_of_acting: 900, by: iso(now + 6 * D) } : wear > 0.3 ? { action: 'watch', text: 'Look at it on the next round.' } : { action: 'none', text: 'Everything is where it should be.' },
    notes: stale ? ['The newest reading is hours old: this says how it was, not how it is.'] : wear > 0.3 && wear < 0.5 ? ['The upper end of the remaining life lies beyond what the data can say.'] : [],
    model: { id: 'mdl_1', name: 'baseline', version: 3 }, code_version: '0.1.0',
  };
}

/** The value of a channel at a moment: level, daily rhythm, wear growing towards now, noise that is the same on every ask. */
export function valueAt(channel, ts, now) {
  const age = (now - ts) / D;
  const wear = channel.asset.wear < 0.13 ? channel.asset.wear : channel.asset.wear * Math.exp(-Math.max(0, age) / 4);
  const r = seeded(Math.floor(ts / 1000) * 31 + channel.c * 7919)();
  const r2 = seeded(Math.floor(ts / 1000) * 17 + channel.c * 104_729)();
  const gauss = Math.sqrt(-2 * Math.log(r + 1e-9)) * Math.cos(2 * Math.PI * r2);
  const rhythm = Math.sin((ts / D) * 2 * Math.PI + channel.c) * channel.noise * 1.6;
  return channel.base * (1 + channel.sense * wear) + rhythm + gauss * channel.noise * (1 + wear * 2);
}

export const MODEL = { H, D, iso };
