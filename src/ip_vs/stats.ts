import { HOST_IS_LITTLE_ENDIAN } from '../codec/index.ts';
import type { WireStats } from './attributes.ts';

/** The counters of a service or destination. The kernel folds them every two seconds: just after traffic they still lack it. */
export interface Stats {
  /** Connections scheduled since the service was made or zeroed. */
  connections: bigint;
  inPackets: bigint;
  outPackets: bigint;
  inBytes: bigint;
  outBytes: bigint;
  /** Per second, averaged by the kernel's estimator. */
  rates: Rates;
}

export interface Rates {
  connections: bigint;
  inPackets: bigint;
  outPackets: bigint;
  inBytes: bigint;
  outBytes: bigint;
}

/** Counters as they come: read already, in 64 bits, or in the 32 bits of kernels before 4.1 and of the socket options. */
interface Counted {
  counters?: Stats;
  stats64?: WireStats;
  stats?: WireStats;
}

export function readStats({ counters, stats64, stats }: Counted): Stats {
  if (counters !== undefined) return counters;
  const wire = stats64 ?? stats;
  const count = (value: number | bigint | undefined) => BigInt(value ?? 0);
  return {
    connections: count(wire?.connections),
    inPackets: count(wire?.inPackets),
    outPackets: count(wire?.outPackets),
    inBytes: count(wire?.inBytes),
    outBytes: count(wire?.outBytes),
    rates: {
      connections: count(wire?.connectionRate),
      inPackets: count(wire?.inPacketRate),
      outPackets: count(wire?.outPacketRate),
      inBytes: count(wire?.inByteRate),
      outBytes: count(wire?.outByteRate),
    },
  };
}

/** A 64-bit counter of the kernel. Each bigint is an object, and of a table's thousands of counters most are 0. */
export function count64(view: DataView, at: number): bigint {
  const none = view.getUint32(at) === 0 && view.getUint32(at + 4) === 0;
  return none ? 0n : view.getBigUint64(at, HOST_IS_LITTLE_ENDIAN);
}

export function count32(view: DataView, at: number): bigint {
  const value = view.getUint32(at, HOST_IS_LITTLE_ENDIAN);
  return value === 0 ? 0n : BigInt(value);
}
