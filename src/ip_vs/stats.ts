import { attributes, HOST_IS_LITTLE_ENDIAN, type Infer, u32ne, u64ne } from '../codec/index.ts';
import * as C from '../linux/ip_vs.ts';

const counters = {
  connections: C.IPVS_STATS_ATTR_CONNS,
  inPackets: C.IPVS_STATS_ATTR_INPKTS,
  outPackets: C.IPVS_STATS_ATTR_OUTPKTS,
};
const bytesSeen = { inBytes: C.IPVS_STATS_ATTR_INBYTES, outBytes: C.IPVS_STATS_ATTR_OUTBYTES };
const rates = {
  connectionRate: C.IPVS_STATS_ATTR_CPS,
  inPacketRate: C.IPVS_STATS_ATTR_INPPS,
  outPacketRate: C.IPVS_STATS_ATTR_OUTPPS,
  inByteRate: C.IPVS_STATS_ATTR_INBPS,
  outByteRate: C.IPVS_STATS_ATTR_OUTBPS,
};

/** The 32-bit counters that every kernel has; the byte counts among them have 64 bits. */
export const stats32 = attributes('IPVS_STATS_ATTR', () => ({
  connections: u32ne(counters.connections),
  inPackets: u32ne(counters.inPackets),
  outPackets: u32ne(counters.outPackets),
  inBytes: u64ne(bytesSeen.inBytes),
  outBytes: u64ne(bytesSeen.outBytes),
  connectionRate: u32ne(rates.connectionRate),
  inPacketRate: u32ne(rates.inPacketRate),
  outPacketRate: u32ne(rates.outPacketRate),
  inByteRate: u32ne(rates.inByteRate),
  outByteRate: u32ne(rates.outByteRate),
}));

/** Linux 4.1: all counters and rates with 64 bits. */
export const stats64 = attributes('IPVS_STATS_ATTR', () => ({
  connections: u64ne(counters.connections),
  inPackets: u64ne(counters.inPackets),
  outPackets: u64ne(counters.outPackets),
  inBytes: u64ne(bytesSeen.inBytes),
  outBytes: u64ne(bytesSeen.outBytes),
  connectionRate: u64ne(rates.connectionRate),
  inPacketRate: u64ne(rates.inPacketRate),
  outPacketRate: u64ne(rates.outPacketRate),
  inByteRate: u64ne(rates.inByteRate),
  outByteRate: u64ne(rates.outByteRate),
}));

type WireStats = Infer<typeof stats64> | Infer<typeof stats32>;

/** The counters of a service or destination. The kernel adds them up every two seconds: just after traffic they do not have it yet. */
export interface Stats {
  /** Connections scheduled since the service was made or zeroed. */
  connections: bigint;
  /** Packets from clients. */
  inPackets: bigint;
  /** Packets to clients; only where they pass this host. */
  outPackets: bigint;
  /** Bytes from clients. */
  inBytes: bigint;
  /** Bytes to clients; only where they pass this host. */
  outBytes: bigint;
  /** Per second, averaged by the kernel's estimator. */
  rates: Rates;
}

/** Rates per second, averaged by the kernel's estimator. */
export interface Rates {
  /** Connections. */
  connections: bigint;
  /** Packets from clients. */
  inPackets: bigint;
  /** Packets to clients; only where they pass this host. */
  outPackets: bigint;
  /** Bytes from clients. */
  inBytes: bigint;
  /** Bytes to clients; only where they pass this host. */
  outBytes: bigint;
}

/** Counters of a message: decoded already, in 64 bits, or in the 32 bits of kernels before 4.1. */
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
