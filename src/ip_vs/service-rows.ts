import {
  attribute,
  byteString,
  bytes,
  checkOneOf,
  checkString,
  nested,
  opt,
  string,
  struct,
  U32_NE,
  u16be,
  u16ne,
  u32ne,
} from '../codec/index.ts';
import * as C from '../linux/ip_vs.ts';
import { decodeNetmask, encodeNetmask } from './address.ts';
import { field, integer, type ValueType } from './fields.ts';
import { stats32, stats64 } from './stats.ts';

/*
 * A service, field by field: IPVS_SVC_ATTR_* (include/uapi/linux/ip_vs.h) with everything that follows from a field. A new field needs its number
 * in constants.ts, its row here, and its declaration in `Scheduling` (service.ts).
 */

/**
 * The schedulers of the kernel (net/netfilter/ipvs). Each is a module of its own, which is loaded when it is first used. 'none' schedules nothing.
 *
 * Load ip_vs_lblc and ip_vs_lblcr on the host beforehand if you use them. The kernel loads a scheduler while it holds the mutex of IPVS, and these two
 * register per-namespace state: if a namespace that used IPVS ends at that moment, both wait for ever (seen on 6.12; docs/ipvs.md).
 */
export const SCHEDULERS = [
  'rr',
  'wrr',
  'lc',
  'wlc',
  'lblc',
  'lblcr',
  'dh',
  'sh',
  'sed',
  'nq',
  'fo',
  'ovf',
  'mh',
  'twos',
  'none',
] as const;
/** The name of a scheduler that some kernel has. */
export type Scheduler = (typeof SCHEDULERS)[number];
const KNOWN: readonly unknown[] = SCHEDULERS;

/** `struct ip_vs_flags`: the kernel changes only the bits of the mask. */
export const ip_vs_flags = struct('ip_vs_flags', { flags: [4, U32_NE], mask: [4, U32_NE] });

/** 31 days, as ipvsadm has it. The kernel multiplies by HZ in 32 bits, and more than 49 days would wrap silently. */
const MAX_TIMEOUT = 31 * 24 * 60 * 60;

const scheduler: ValueType<string> = {
  // Known names need not be measured: a batch has thousands.
  encode: (value, path) =>
    typeof value === 'string' && KNOWN.includes(value) ? value : checkString(value, path, C.IP_VS_SCHEDNAME_MAXLEN - 1),
  decode: value => value,
  checkNew: (value, path) => {
    checkOneOf(value, path, SCHEDULERS);
  },
};

const netmask: ValueType<string> = { encode: encodeNetmask, decode: decodeNetmask };
/** Each address is a client of its own. */
const wholeAddress = (family: number) => encodeNetmask(undefined, [], family);

export const serviceRows = {
  family: field(u16ne(C.IPVS_SVC_ATTR_AF), { role: 'key', name: 'family' }),
  /** An IP protocol number; absent for a firewall mark. */
  protocol: field(opt(u16ne(C.IPVS_SVC_ATTR_PROTOCOL)), { role: 'key', name: 'protocol' }),
  /** The kernel answers with sixteen bytes always; those after an IPv4 address mean nothing. */
  address: field(opt(attribute(C.IPVS_SVC_ATTR_ADDR, byteString({ min: 4, max: 16 }))), {
    role: 'key',
    name: 'address',
  }),
  port: field(opt(u16be(C.IPVS_SVC_ATTR_PORT)), { role: 'key', name: 'port' }),
  firewallMark: field(opt(u32ne(C.IPVS_SVC_ATTR_FWMARK)), { role: 'key', name: 'firewallMark' }),
  scheduler: field(opt(string(C.IPVS_SVC_ATTR_SCHED_NAME, C.IP_VS_SCHEDNAME_MAXLEN - 1)), {
    role: 'setting',
    path: ['scheduler'],
    type: scheduler,
    required: true,
    always: true,
    absent: 'none',
    sockopt: 'sched_name',
    ipvsadm: [{ option: 'scheduler', letter: 's', argument: 'required', apart: true }],
    label: '',
  }),
  /** A scheduler's own flags, and which of the other fields are in use. */
  flags: field(opt(attribute(C.IPVS_SVC_ATTR_FLAGS, ip_vs_flags)), {
    role: 'composite',
    names: ['schedulerFlags', 'onePacket'],
    // The kernel sets this bit itself.
    compared: ({ flags }: { flags: number }) => flags & ~C.IP_VS_SVC_F_HASHED,
    sockopt: 'flags',
    ipvsadm: [
      { option: 'sched-flags', letter: 'b', argument: 'required', apart: true },
      { option: 'ops', letter: 'o', argument: 'none', apart: true },
    ],
  }),
  timeout: field(opt(u32ne(C.IPVS_SVC_ATTR_TIMEOUT)), {
    role: 'setting',
    path: ['persistence', 'timeoutSeconds'],
    type: integer([0, 0xffffffff], [1, MAX_TIMEOUT]),
    required: true,
    always: true,
    withoutGroup: () => 0,
    sockopt: 'timeout',
    ipvsadm: [{ option: 'persistent', letter: 'p', argument: 'optional', apart: true }],
    label: 'persistent',
  }),
  /** IPv4: the bytes of the mask in network order. IPv6: a prefix length as a number in host order. The kernel wants it always. */
  netmask: field(opt(bytes(C.IPVS_SVC_ATTR_NETMASK, { min: 4, max: 4 })), {
    role: 'setting',
    path: ['persistence', 'netmask'],
    type: netmask,
    byDefault: wholeAddress,
    withoutGroup: wholeAddress,
    sockopt: 'netmask',
    ipvsadm: [{ option: 'netmask', letter: 'M', argument: 'required', apart: true }],
    label: 'mask',
  }),
  engine: field(opt(string(C.IPVS_SVC_ATTR_PE_NAME, C.IP_VS_PENAME_MAXLEN)), {
    role: 'setting',
    path: ['persistence', 'engine'],
    type: {
      encode: (value: unknown, path: readonly (string | number)[]) =>
        checkString(value, path, C.IP_VS_PENAME_MAXLEN - 1),
      decode: (value: string) => value,
    },
    sockopt: { missing: 'a persistence engine' },
    ipvsadm: [{ option: 'pe', argument: 'required', apart: true }],
    label: 'engine',
  }),
  stats: field(opt(nested(C.IPVS_SVC_ATTR_STATS, stats32)), { role: 'counters' }),
  stats64: field(opt(nested(C.IPVS_SVC_ATTR_STATS64, stats64)), { role: 'counters' }),
};
