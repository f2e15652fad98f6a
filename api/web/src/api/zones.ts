// Which zone an asset's times are shown in, for pages whose rows name the asset only.

import { useCallback, useMemo } from 'preact/hooks';
import { localZone } from '../lib/time';
import { useList } from './query';
import type { Asset } from './types';

/** The zone of an asset's site; the reader's own while it is not known. Either way it is named beside the time. */
export function useZones(): (asset: { id: string }) => string {
  const assets = useList<Asset>('/v1/assets', 0, 200);
  const zones = useMemo(() => new Map((assets.data ?? []).map((a) => [a.id, a.site.time_zone])), [assets.data]);
  return useCallback((asset) => zones.get(asset.id) ?? localZone(), [zones]);
}
