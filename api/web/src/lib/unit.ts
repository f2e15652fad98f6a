// UCUM codes as people write them.

const SHOWN: Record<string, string> = {
  '1': '',
  Cel: '°C',
  '[degF]': '°F',
  '[degR]': '°R',
  um: 'µm',
  'm/s2': 'm/s²',
  'mm/s2': 'mm/s²',
  '[g]': 'g',
  'kW.h': 'kWh',
  'W.h': 'Wh',
  'MW.h': 'MWh',
  'm3/s': 'm³/s',
  'm3/h': 'm³/h',
  m3: 'm³',
  'N.m': 'N·m',
  '[psi]': 'psi',
  '[ppm]': 'ppm',
  '[in_i]/s': 'in/s',
};

/** The unit as shown beside a number; '' for dimensionless. Annotations such as `{rpm}` lose their braces. */
export function unitText(code: string | null | undefined): string {
  if (!code) return '';
  const known = SHOWN[code];
  if (known !== undefined) return known;
  return code.replace(/\{([^}]*)\}/g, '$1').replace(/\./g, '·');
}
