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

/** The 64-bit counters, or the 32-bit ones of kernels before 4.1. */
export function readStats(stats64: WireStats | undefined, stats32: WireStats | undefined): Stats {
  const wire = stats64 ?? stats32;
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
