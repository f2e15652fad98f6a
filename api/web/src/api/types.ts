// What the API answers. One place, so that a change of the contract is one change here.

import type { Page } from '../lib/paging';

export type { Page };

export interface Named { id: string; name: string }
export interface TenantRef { id: string; slug: string; name: string }
export interface Membership extends TenantRef { role: string }

export interface Session {
  token: string;
  expires_at: string;
  user: { id: string; name: string; email: string };
  tenant: TenantRef;
  role: string;
  permissions: string[];
  tenants: Membership[];
}

export interface Overview {
  tenant: TenantRef;
  counts: {
    assets: number;
    assets_healthy: number;
    assets_watch: number;
    assets_poor: number;
    /** By health together with parts. */
    rolled_up_healthy: number;
    rolled_up_watch: number;
    rolled_up_poor: number;
    /** Of those that are not healthy so: those that a part makes worse than they are themselves. */
    rolled_up_by_part: number;
    alarms_active: number;
    alarms_unacked: number;
    cases_open: number;
    tickets_open: number;
    predictions_open: number;
    plans_due: number;
  };
  sites: SiteHealth[];
  ingest: {
    readings_today: number;
    readings_per_s: number;
    rejected_today: number;
    duplicate_today: number;
    last_received_at?: string | null;
  };
  as_of: string;
}

export interface SiteHealth extends Named { rolled_up: RolledUp; areas: (Named & { rolled_up: RolledUp })[] }

export interface Site { id: string; name: string; time_zone: string; areas?: Named[] }
export type AssetStatus = 'operational' | 'maintenance' | 'down' | 'in_storage' | 'disposed';
export type Severity = 'info' | 'warning' | 'serious' | 'critical';
export type Level = 'low' | 'medium' | 'high' | 'critical';

export interface HealthNow {
  value: number;
  coverage: number;
  freshness_s: number;
  as_of: string;
  stale: boolean;
  top_factor?: { name: string; text: string; penalty: number } | null;
}

/** Health together with all parts: its own, or what the worst part leaves of it. */
export interface RolledUp {
  value?: number | null;
  stale: boolean;
  by_part: boolean;
  worst_part?: { id: string; name: string; criticality: Level; health: number; leaves: number; as_of: string; stale: boolean; path: Named[] } | null;
  parts: number;
  parts_fresh: number;
  coverage?: number | null;
  oldest_as_of?: string | null;
  oldest_age_s?: number | null;
}

export interface Asset {
  id: string;
  name: string;
  class: Named;
  site: { id: string; name: string; time_zone: string };
  area?: Named | null;
  parent_id?: string | null;
  status: AssetStatus;
  criticality: Level;
  manufacturer?: string | null;
  model?: string | null;
  serial_number?: string | null;
  installed_at?: string | null;
  row_version: number;
  /** Its own, without its parts. */
  health?: HealthNow | null;
  rolled_up: RolledUp;
  p_fail_30d?: { p: number; low: number; high: number } | null;
  alarms_active: number;
  tickets_open: number;
  attributes?: Record<string, unknown>;
  children?: Named[];
  devices?: Named[];
  failure_modes?: FailureMode[];
}

export interface Channel {
  id: string;
  name: string;
  label?: string | null;
  unit: string;
  kind: string;
  device: Named;
  gateway: { id: string; slug: string };
  cadence_s?: number | null;
  latest?: { ts: string; value: number; quality: number | string } | null;
}

export interface Series {
  bucket_s: number;
  raw: boolean;
  gap_s: number | null;
  from: string;
  to: string;
  data: { ts: number[]; min: (number | null)[]; max: (number | null)[]; mean: (number | null)[]; n: (number | null)[] };
}

export interface FactorDetail {
  name: string;
  penalty: number;
  value?: number | null;
  expected?: number | null;
  channel_id?: string | number | null;
  unit?: string | null;
  text: string;
}

export interface Rul { p10_h?: number | null; p50_h?: number | null; p90_h?: number | null }

export interface ModeProbability { failure_mode_id?: string | null; name: string; p: number; low: number; high: number; basis: string }
/** `modes` add up to `p`; the key is missing where nothing is known of them. */
export interface FailureProbability { horizon_h: number; p: number; low: number; high: number; basis: string; modes?: ModeProbability[] }

/** What could be done: `now`, `next_stop`, `date` or `run_to_failure`. */
export interface AdviceOption { action: string; at?: string | null; cost: number; cost_low: number; cost_high: number; p_before?: number | null }
/** `options` has the cheapest first; keys are missing where there is nothing to say. */
export interface Advice {
  action?: string | null;
  text?: string | null;
  at?: string | null;
  by?: string | null;
  cost_of_waiting?: number | null;
  cost_of_acting?: number | null;
  options?: AdviceOption[];
  span_h?: number | null;
  runner_up?: string | null;
  cheapest_from?: string | null;
  cheapest_to?: string | null;
  p_from?: number | null;
  p_to?: number | null;
  action_low?: string | null;
  action_high?: string | null;
  missing?: string[];
}

export interface Assessment {
  asset_id: string;
  window_start: string;
  window_end: string;
  assessed_at: string;
  health: number;
  anomaly?: number | null;
  coverage: number;
  freshness_s: number;
  failure_mode?: FailureMode | null;
  p_fail: FailureProbability[];
  rul?: Rul | null;
  factors: FactorDetail[];
  advice: Advice;
  notes: string[];
  model: { id: string; name: string; version: number | string };
  code_version: string;
}

export interface FailureMode { id: string; code: string; name: string }

export interface Alarm {
  id: string;
  asset: Named;
  rule: { id: string; name: string; kind: string };
  channel?: { id: string; name: string; unit: string } | null;
  failure_mode?: FailureMode | null;
  severity: Severity;
  condition: 'inactive' | 'pending' | 'active' | 'clearing';
  acked_at?: string | null;
  acked_by?: string | null;
  suppression: 'none' | 'shelved' | 'by_design' | 'out_of_service';
  suppressed_until?: string | null;
  suppression_reason?: string | null;
  pending_since: string;
  active_at?: string | null;
  cleared_at?: string | null;
  first_value: number;
  last_value: number;
  peak_value: number;
  limit_value: number;
  flap_count: number;
  case_id?: string | null;
  row_version: number;
  dispatch?: TicketAnswer;
  events?: HistoryEvent[];
}

/** Whether there is a ticket for it, and why not. */
export interface TicketAnswer { code: string; reason: string; ticket_id?: string | null; last_word: boolean }

export interface HistoryEvent { at: string; kind: string; actor: string; detail?: Record<string, unknown> }

export interface TicketRef { id: string; number: number; status: TicketStatus; priority: Level; title?: string | null }

export interface Case {
  id: string;
  title: string;
  asset: Named;
  failure_mode?: FailureMode | null;
  severity: Severity;
  opened_at: string;
  updated_at: string;
  closed_at?: string | null;
  close_reason?: string | null;
  alarms: number | Alarm[];
  ticket?: TicketRef | null;
}

export interface CaseDetail extends Omit<Case, 'alarms'> {
  alarms: Alarm[];
  predictions: Prediction[];
  tickets: TicketRef[];
  decisions: Decision[];
}

export interface Decision {
  id?: string;
  subject: string;
  outcome: string;
  reason: string;
  at: string;
  ticket_id?: string | null;
  case_id?: string | null;
}

export type PredictionStatus = 'new' | 'in_review' | 'accepted' | 'attached' | 'dismissed' | 'snoozed' | 'expired';

export interface Prediction {
  id: string;
  asset: Named;
  failure_mode?: FailureMode | null;
  horizon_h: number;
  status: PredictionStatus;
  probability: number;
  p_low: number;
  p_high: number;
  rul?: Rul | null;
  factors: FactorDetail[];
  revision: number;
  window_end: string;
  claimed_by?: string | null;
  snoozed_until?: string | null;
  dismiss_reason?: string | null;
  case_id?: string | null;
  ticket_id?: string | null;
  opened_at: string;
  updated_at: string;
  row_version: number;
}

export type TicketStatus =
  | 'open' | 'accepted' | 'planned' | 'waiting_parts' | 'waiting_window' | 'scheduled' | 'assigned'
  | 'in_progress' | 'on_hold' | 'completed' | 'closed' | 'cancelled';

export interface Ticket {
  id: string;
  number: number;
  title: string;
  description: string;
  asset: Named;
  site: { id: string; name: string; time_zone?: string };
  case_id?: string | null;
  origin: string;
  status: TicketStatus;
  priority: Level;
  assignee?: Named | null;
  due_at?: string | null;
  created_at: string;
  updated_at: string;
  row_version: number;
  failure_mode?: FailureMode | null;
}

export interface Task {
  id: string;
  position: number;
  kind: 'check' | 'number' | 'meter' | 'photo' | 'signature';
  text: string;
  mandatory: boolean;
  min_value?: number | null;
  max_value?: number | null;
  unit?: string | null;
  result?: unknown;
  done_at?: string | null;
  done_by?: string | null;
}

export interface TicketDetail extends Ticket {
  tasks: Task[];
  events: HistoryEvent[];
  decision?: Decision | null;
  status_reason?: string | null;
  scheduled_start?: string | null;
  scheduled_end?: string | null;
  outcome?: string | null;
  cause?: string | null;
  remedy?: string | null;
}

export interface Transition { to: TicketStatus; allowed: boolean; missing: { code: string; detail: string }[] }

export interface Plan {
  id: string;
  asset: Named;
  name: string;
  basis: string;
  every_days?: number | null;
  meter?: { id: string; name: string; unit: string; total: number } | null;
  every_units?: number | null;
  units_to_go?: number | null;
  next_due?: { date?: string | null; low?: string | null; high?: string | null; explanation: string } | null;
  no_day_because?: string | null;
  open_occurrence?: { id: string; sequence: number; status: string; due_date: string; ticket_id?: string | null } | null;
  enabled: boolean;
  row_version: number;
}

export interface LedgerDay {
  gateway: { id: string; slug: string };
  day: string;
  received: number;
  stored: number;
  duplicate: number;
  conflict: number;
  rejected: number;
  dead_lettered: number;
  payloads: number;
  payloads_dead: number;
  closes: boolean;
}

export interface Gap {
  gateway: { id: string; slug: string };
  epoch: number;
  first_seq: number;
  last_seq: number;
  seen_at: string;
  closed_at?: string | null;
  lost_at?: string | null;
}

export interface DeadLetter {
  id: string;
  gateway: { id: string; slug: string };
  received_at: string;
  topic: string;
  format: string;
  reason: string;
  detail: string;
  /** 0 when nobody could tell. */
  readings: number;
  bytes?: number;
  replayed_at?: string | null;
  discarded_at?: string | null;
  payload?: string | null;
  payload_base64?: string | null;
}

export interface DiscreteEvent { ts: string; device_id: string; code: string; severity: number; message?: string | null }

export interface ProblemBody {
  type?: string;
  title?: string;
  status?: number;
  detail?: string;
  errors?: { pointer: string; detail: string }[];
  missing?: { code: string; detail: string }[];
  trace_id?: string;
}
