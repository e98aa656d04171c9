import { flags, named, struct, U8, U16_NE, U32_NE } from '../../codec/index.ts';
import { rangeError, typeError } from '../../errors.ts';
import {
  XT_ADDRTYPE_ANYCAST,
  XT_ADDRTYPE_BLACKHOLE,
  XT_ADDRTYPE_BROADCAST,
  XT_ADDRTYPE_INVERT_DEST,
  XT_ADDRTYPE_INVERT_SOURCE,
  XT_ADDRTYPE_LIMIT_IFACE_IN,
  XT_ADDRTYPE_LIMIT_IFACE_OUT,
  XT_ADDRTYPE_LOCAL,
  XT_ADDRTYPE_MULTICAST,
  XT_ADDRTYPE_NAT,
  XT_ADDRTYPE_PROHIBIT,
  XT_ADDRTYPE_THROW,
  XT_ADDRTYPE_UNICAST,
  XT_ADDRTYPE_UNREACHABLE,
  XT_ADDRTYPE_UNSPEC,
  XT_ADDRTYPE_XRESOLVE,
} from '../../linux/xt_addrtype.ts';
import {
  XT_MULTI_PORTS,
  XT_MULTIPORT_DESTINATION,
  XT_MULTIPORT_EITHER,
  XT_MULTIPORT_SOURCE,
} from '../../linux/xt_multiport.ts';

import { XT_TCP_INV_DSTPT, XT_TCP_INV_FLAGS, XT_TCP_INV_OPTION, XT_TCP_INV_SRCPT } from '../../linux/xt_tcpudp.ts';
import { arrayOf, fixedText, type Info, type Layouts, layout, PORTS, truth } from './layout.ts';

/*
 * The C structures of the commonest matches of xtables (include/uapi/linux/netfilter/xt_*.h). They have no attributes: their members lie
 * one behind the other, in the host's byte order but for addresses.
 */

const TRUTH = truth(U8);
const TRUTH32 = truth(U32_NE);

const TCP_FLAGS = { fin: 0x1, syn: 0x2, rst: 0x4, psh: 0x8, ack: 0x10, urg: 0x20, ecn: 0x40, cwr: 0x80 } as const;
const PORT_INVERSIONS = { 'source-ports': XT_TCP_INV_SRCPT, 'destination-ports': XT_TCP_INV_DSTPT } as const;

const tcp = struct('xt_tcp', {
  spts: [4, PORTS],
  dpts: [4, PORTS],
  option: [1, U8],
  flg_mask: [1, flags(U8, TCP_FLAGS)],
  flg_cmp: [1, flags(U8, TCP_FLAGS)],
  invflags: [1, flags(U8, { ...PORT_INVERSIONS, flags: XT_TCP_INV_FLAGS, option: XT_TCP_INV_OPTION })],
});

const udp = struct('xt_udp', {
  spts: [4, PORTS],
  dpts: [4, PORTS],
  invflags: [1, flags(U8, PORT_INVERSIONS)],
  _padding: [1, U8],
});

const comment = struct('xt_comment_info', { comment: [256, fixedText(256)] });

const ADDRESS_TYPES = {
  unspecified: XT_ADDRTYPE_UNSPEC,
  unicast: XT_ADDRTYPE_UNICAST,
  local: XT_ADDRTYPE_LOCAL,
  broadcast: XT_ADDRTYPE_BROADCAST,
  anycast: XT_ADDRTYPE_ANYCAST,
  multicast: XT_ADDRTYPE_MULTICAST,
  blackhole: XT_ADDRTYPE_BLACKHOLE,
  unreachable: XT_ADDRTYPE_UNREACHABLE,
  prohibit: XT_ADDRTYPE_PROHIBIT,
  throw: XT_ADDRTYPE_THROW,
  nat: XT_ADDRTYPE_NAT,
  xresolve: XT_ADDRTYPE_XRESOLVE,
} as const;
const addressTypes = flags(U16_NE, ADDRESS_TYPES);

const addrtype = struct('xt_addrtype_info', {
  source: [2, addressTypes],
  dest: [2, addressTypes],
  invert_source: [4, TRUTH32],
  invert_dest: [4, TRUTH32],
});
const addrtype1 = struct('xt_addrtype_info_v1', {
  source: [2, addressTypes],
  dest: [2, addressTypes],
  flags: [
    4,
    flags(U32_NE, {
      'invert-source': XT_ADDRTYPE_INVERT_SOURCE,
      'invert-destination': XT_ADDRTYPE_INVERT_DEST,
      'limit-in-interface': XT_ADDRTYPE_LIMIT_IFACE_IN,
      'limit-out-interface': XT_ADDRTYPE_LIMIT_IFACE_OUT,
    }),
  ],
});
const MULTIPORT_SIDE = named(U8, {
  source: XT_MULTIPORT_SOURCE,
  destination: XT_MULTIPORT_DESTINATION,
  either: XT_MULTIPORT_EITHER,
});
const PORT_ARRAY = arrayOf(XT_MULTI_PORTS, 2, U16_NE);
const FLAG_ARRAY = arrayOf(XT_MULTI_PORTS, 1, U8);
const multiport = struct('xt_multiport_v1', {
  flags: [1, MULTIPORT_SIDE],
  count: [1, U8],
  ports: [30, PORT_ARRAY],
  pflags: [15, FLAG_ARRAY],
  invert: [1, TRUTH],
});

/** The ports are fifteen in all; a flag on one says that a range begins there. */
function portsToFields({ ports, ...rest }: Info): Info {
  if (!Array.isArray(ports)) throw typeError(['ports'], 'an array of ports and [first, last]', ports);
  const list: number[] = [];
  const begins: number[] = [];
  for (const [i, entry] of ports.entries()) {
    const range = Array.isArray(entry) ? entry : [entry];
    if (range.length < 1 || range.length > 2) throw typeError(['ports', i], 'a port or [first, last]', entry);
    list.push(...range);
    begins.push(...(range.length === 2 ? [1, 0] : [0]));
  }
  if (list.length > XT_MULTI_PORTS)
    throw rangeError(['ports'], `at most ${XT_MULTI_PORTS} ports, where a range counts twice`, ports);
  return { ...rest, count: list.length, ports: list, begins };
}

function portsFromFields({ count, ports, begins, ...rest }: Info): Info {
  const entries: unknown[] = [];
  const list = ports as number[];
  for (let i = 0; i < (count as number); i++) {
    entries.push((begins as number[])[i] === 1 ? [list[i], list[++i]] : list[i]);
  }
  return { ...rest, ports: entries };
}

const ANY_PORT = [0, 0xffff];

export const COMMON_MATCH_LAYOUTS: Layouts = {
  tcp: {
    0: layout(tcp, {
      sourcePorts: ['spts', ANY_PORT],
      destinationPorts: ['dpts', ANY_PORT],
      option: ['option', 0],
      flagsMask: ['flg_mask', []],
      flags: ['flg_cmp', []],
      invert: ['invflags', []],
    }),
  },
  udp: {
    0: layout(udp, {
      sourcePorts: ['spts', ANY_PORT],
      destinationPorts: ['dpts', ANY_PORT],
      invert: ['invflags', []],
    }),
  },
  comment: { 0: layout(comment, { comment: ['comment', undefined] }) },
  multiport: {
    1: layout(
      multiport,
      {
        side: ['flags', undefined],
        count: ['count', undefined],
        ports: ['ports', undefined],
        begins: ['pflags', undefined],
        invert: ['invert', false],
      },
      { keys: ['side', 'ports', 'invert'], toFields: portsToFields, fromFields: portsFromFields },
    ),
  },
  addrtype: {
    0: layout(addrtype, {
      source: ['source', []],
      destination: ['dest', []],
      invertSource: ['invert_source', false],
      invertDestination: ['invert_dest', false],
    }),
    1: layout(addrtype1, { source: ['source', []], destination: ['dest', []], flags: ['flags', []] }),
  },
};
