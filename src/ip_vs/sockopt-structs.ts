import { byteString, S32_NE, struct, type Type, text, U16_BE, U16_NE, U32_NE, U64_NE } from '../codec/index.ts';

/* include/uapi/linux/ip_vs.h: the arguments of IPVS's socket options, IPv4 only. Members have their C names; what begins with _ is padding. */

/** A char array that holds a name and zeros behind it. */
function name(size: number): Type<string> {
  const inner = text(size - 1);
  return {
    kind: `char[${size}]`,
    write(writer, value, context) {
      const start = writer.length;
      inner.write(writer, value, context);
      writer.zeros(size - (writer.length - start));
    },
    read(source, start, end, context) {
      const nul = source.bytes.subarray(start, end).indexOf(0);
      return nul < 0 ? undefined : inner.read(source, start, start + nul + 1, context);
    },
  };
}

const IPV4 = byteString({ min: 4, max: 4 });
const SCHEDULER = name(16);
const INTERFACE = name(16);

export const ip_vs_service_user = struct('ip_vs_service_user', {
  protocol: [2, U16_NE],
  _protocol: [2, U16_NE],
  addr: [4, IPV4],
  port: [2, U16_BE],
  _port: [2, U16_BE],
  fwmark: [4, U32_NE],
  sched_name: [16, SCHEDULER],
  flags: [4, U32_NE],
  /** Persistence, in seconds. */
  timeout: [4, U32_NE],
  netmask: [4, IPV4],
});

export const ip_vs_dest_user = struct('ip_vs_dest_user', {
  addr: [4, IPV4],
  port: [2, U16_BE],
  _port: [2, U16_BE],
  conn_flags: [4, U32_NE],
  weight: [4, S32_NE],
  u_threshold: [4, U32_NE],
  l_threshold: [4, U32_NE],
});

export const ip_vs_stats_user = struct('ip_vs_stats_user', {
  conns: [4, U32_NE],
  inpkts: [4, U32_NE],
  outpkts: [4, U32_NE],
  _outpkts: [4, U32_NE],
  inbytes: [8, U64_NE],
  outbytes: [8, U64_NE],
  cps: [4, U32_NE],
  inpps: [4, U32_NE],
  outpps: [4, U32_NE],
  inbps: [4, U32_NE],
  outbps: [4, U32_NE],
  _outbps: [4, U32_NE],
});

export const ip_vs_service_entry = struct('ip_vs_service_entry', {
  protocol: [2, U16_NE],
  _protocol: [2, U16_NE],
  addr: [4, IPV4],
  port: [2, U16_BE],
  _port: [2, U16_BE],
  fwmark: [4, U32_NE],
  sched_name: [16, SCHEDULER],
  flags: [4, U32_NE],
  timeout: [4, U32_NE],
  netmask: [4, IPV4],
  num_dests: [4, U32_NE],
  stats: [56, ip_vs_stats_user],
});

export const ip_vs_dest_entry = struct('ip_vs_dest_entry', {
  addr: [4, IPV4],
  port: [2, U16_BE],
  _port: [2, U16_BE],
  conn_flags: [4, U32_NE],
  weight: [4, S32_NE],
  u_threshold: [4, U32_NE],
  l_threshold: [4, U32_NE],
  activeconns: [4, U32_NE],
  inactconns: [4, U32_NE],
  persistconns: [4, U32_NE],
  _persistconns: [4, U32_NE],
  stats: [56, ip_vs_stats_user],
});

export const ip_vs_getinfo = struct('ip_vs_getinfo', {
  version: [4, U32_NE],
  size: [4, U32_NE],
  num_services: [4, U32_NE],
});

/** The entries follow, aligned to eight bytes as their counters are. */
export const ip_vs_get_services = struct('ip_vs_get_services', {
  num_services: [4, U32_NE],
  _num_services: [4, U32_NE],
});

/** As above. */
export const ip_vs_get_dests = struct('ip_vs_get_dests', {
  protocol: [2, U16_NE],
  _protocol: [2, U16_NE],
  addr: [4, IPV4],
  port: [2, U16_BE],
  _port: [2, U16_BE],
  fwmark: [4, U32_NE],
  num_dests: [4, U32_NE],
  _num_dests: [4, U32_NE],
});

/** Seconds; 0 leaves one as it is. */
export const ip_vs_timeout_user = struct('ip_vs_timeout_user', {
  tcp_timeout: [4, S32_NE],
  tcp_fin_timeout: [4, S32_NE],
  udp_timeout: [4, S32_NE],
});

export const ip_vs_daemon_user = struct('ip_vs_daemon_user', {
  state: [4, S32_NE],
  mcast_ifn: [16, INTERFACE],
  syncid: [4, S32_NE],
});
