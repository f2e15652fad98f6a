// Drawn here by hand, 18 × 18, in the colour of the text. Decorative: the word beside them carries the meaning.

import type { ComponentChildren } from 'preact';

function Icon({ children, size = 18 }: { children: ComponentChildren; size?: number }) {
  return (
    <svg width={size} height={size} viewBox="0 0 18 18" fill="none" stroke="currentColor" stroke-width="1.5" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true" focusable="false">
      {children}
    </svg>
  );
}

export const FleetIcon = () => <Icon><rect x="2.500" y="2.500" width="5" height="5" rx="1.200" /><rect x="10.500" y="2.500" width="5" height="5" rx="1.200" /><rect x="2.500" y="10.500" width="5" height="5" rx="1.200" /><rect x="10.500" y="10.500" width="5" height="5" rx="1.200" /></Icon>;
export const AlarmIcon = () => <Icon><path d="M9 2.200 16.200 15H1.800Z" /><path d="M9 7v3.600M9 12.900v.1" /></Icon>;
export const CaseIcon = () => <Icon><path d="M2.500 5.500h4l1.500 2h7.500v7h-13Z" /><path d="M2.500 5.500v-2h4.500" /></Icon>;
export const TicketIcon = () => <Icon><path d="M3.500 2.500h11v13h-11Z" /><path d="m6 6.300 1 1 1.600-1.800M6 11l1 1 1.600-1.800M10.800 6.500h1.500M10.800 11.200h1.500" /></Icon>;
export const PredictionIcon = () => <Icon><path d="M2.500 4.500h4c3.600 0 5 2 6 6" /><path d="m13.600 13.500 1.900 1.900" stroke-dasharray="0.100 2.600" /><circle cx="12.800" cy="11.300" r="1.400" /></Icon>;
export const LedgerIcon = () => <Icon><path d="M4 2.500h10.500v13H4a1.500 1.500 0 0 1-1.500-1.500V4A1.500 1.500 0 0 1 4 2.500Z" /><path d="M6 6.500h5.500M6 9.500h5.500M6 12.500h3" /></Icon>;
export const PlanIcon = () => <Icon><rect x="2.500" y="3.500" width="13" height="12" rx="1.500" /><path d="M2.500 7.500h13M6 2v3M12 2v3" /></Icon>;
export const MoreIcon = () => <Icon><path d="M3 5h12M3 9h12M3 13h12" /></Icon>;
export const SunIcon = () => <Icon><circle cx="9" cy="9" r="3" /><path d="M9 1.500v2M9 14.500v2M1.500 9h2M14.500 9h2M3.700 3.700l1.400 1.400M12.900 12.900l1.400 1.400M14.300 3.700l-1.400 1.400M5.100 12.900l-1.400 1.400" /></Icon>;
export const MoonIcon = () => <Icon><path d="M15 10.800A6.300 6.300 0 0 1 7.200 3a6.300 6.300 0 1 0 7.800 7.800Z" /></Icon>;
export const AutoIcon = () => <Icon><circle cx="9" cy="9" r="6.300" /><path d="M9 2.700a6.300 6.300 0 0 1 0 12.600Z" fill="currentColor" /></Icon>;
export const OutIcon = () => <Icon><path d="M7 2.500H3.500v13H7M11 5.500 14.500 9 11 12.500M14.500 9H7" /></Icon>;
export const HelpIcon = () => <Icon><circle cx="9" cy="9" r="6.800" /><path d="M7 7.200c.1-1.200 1-1.900 2-1.900 1.200 0 2.100.8 2.100 1.900 0 1.600-2.100 1.700-2.100 3.200M9 12.900v.1" /></Icon>;

/** The brand: a curve that bends down, and the point at which one can know it. */
export function Mark({ size = 26 }: { size?: number }) {
  return (
    <svg width={size} height={size} viewBox="0 0 32 32" aria-hidden="true" focusable="false">
      <rect width="32" height="32" rx="7" fill="#12343b" />
      <path d="M5 10h8c6 0 8.500 3 14 14" fill="none" stroke="#f4f2ec" stroke-width="2.600" stroke-linecap="round" />
      <circle cx="16.800" cy="11.200" r="3.400" fill="#e3a52c" />
    </svg>
  );
}

export type Shape = 'ring' | 'dot' | 'triangle' | 'diamond' | 'square' | 'dashed' | 'check' | 'cross';

/** A shape that says by itself what its colour says: circle, triangle, diamond, square, from calm to urgent. */
export function ShapeMark({ shape, tone = 'none', size = 12 }: { shape: Shape; tone?: 'none' | 'watch' | 'poor'; size?: number }) {
  const fill = tone === 'none' ? 'var(--ink-3)' : `var(--${tone}-fill)`;
  return (
    <svg width={size} height={size} viewBox="0 0 12 12" aria-hidden="true" focusable="false">
      {shape === 'ring' && <circle cx="6" cy="6" r="4.200" fill="none" stroke={fill} stroke-width="1.600" />}
      {shape === 'dot' && <circle cx="6" cy="6" r="4.600" fill={fill} />}
      {shape === 'dashed' && <circle cx="6" cy="6" r="4.200" fill="none" stroke={fill} stroke-width="1.600" stroke-dasharray="2.200 2.200" />}
      {shape === 'triangle' && <path d="M6 .800 11.600 11H.4Z" fill={fill} />}
      {shape === 'diamond' && <path d="M6 .300 11.700 6 6 11.700.3 6Z" fill={fill} />}
      {shape === 'square' && <rect x="0.800" y="0.800" width="10.400" height="10.400" rx="1" fill={fill} />}
      {shape === 'check' && <path d="M1.800 6.400 4.800 9.400 10.400 2.900" fill="none" stroke={fill} stroke-width="1.800" />}
      {shape === 'cross' && <path d="M2 2l8 8M10 2l-8 8" fill="none" stroke={fill} stroke-width="1.800" />}
    </svg>
  );
}
