import { flags, named, U8, U16_BE, U16_NE, U32_BE, U32_NE, U64_NE } from '../../codec/index.ts';
import {
  fixedText,
  hexBytes,
  INET,
  INET_OR_ANY,
  type Info,
  type Layouts,
  listOf,
  structure,
  textOver,
  truth,
} from './layout.ts';

/*
 * The C structures of matches that look at what is known besides the packet: connections, rates, times, sockets, devices, policies
 * (include/uapi/linux/netfilter/xt_*.h).
 */

const TRUTH = truth(U8);
const TRUTH32 = truth(U32_NE);
const POINTER = hexBytes(8);

const HASHLIMIT_MODE = {
  'destination-address': 0x01,
  'destination-port': 0x02,
  'source-address': 0x04,
  'source-port': 0x08,
  invert: 0x10,
  bytes: 0x20,
  'rate-match': 0x40,
} as const;

const IPVS_FIELDS = {
  ipvs: 0x01,
  protocol: 0x02,
  address: 0x04,
  port: 0x08,
  direction: 0x10,
  method: 0x20,
  'control-port': 0x40,
} as const;

const POLICY_FIELDS = { source: 1, destination: 2, protocol: 4, mode: 8, spi: 16, reqid: 32 } as const;
const POLICY_ELEMENTS = 4;
const POLICY_BYTES = 76;

const policyElement = {
  kind: 'policy',
  write(writer: Parameters<typeof U8.write>[0], value: Info, context: { family: number }) {
    const { source, sourceMask, destination, destinationMask } = value as Record<string, string | undefined>;
    for (const address of [source, sourceMask, destination, destinationMask])
      INET.write(writer, address ?? null, context);
    U32_BE.write(writer, (value.spi as number | undefined) ?? 0, context);
    U32_NE.write(writer, (value.reqid as number | undefined) ?? 0, context);
    U8.write(writer, (value.protocol as number | undefined) ?? 0, context);
    U8.write(writer, value.mode === 'tunnel' ? 1 : 0, context);
    POLICY_SPEC.write(writer, (value.match as PolicyField[] | undefined) ?? [], context);
    POLICY_SPEC.write(writer, (value.invert as PolicyField[] | undefined) ?? [], context);
  },
  read(source: Parameters<typeof U8.read>[0], start: number, _end: number, context: { family: number }): Info {
    const element: Info = {};
    for (const [i, key] of ['source', 'sourceMask', 'destination', 'destinationMask'].entries()) {
      const address = INET.read(source, start + i * 16, start + i * 16 + 16, context);
      if (address !== null && address !== undefined) element[key] = address;
    }
    const numbers = [
      ['spi', U32_BE.read(source, start + 64, start + 68, context)],
      ['reqid', U32_NE.read(source, start + 68, start + 72, context)],
      ['protocol', source.bytes[start + 72]],
    ] as const;
    for (const [key, value] of numbers) if (value !== 0) element[key] = value;
    if (source.bytes[start + 73] === 1) element.mode = 'tunnel';
    const match = POLICY_SPEC.read(source, start + 74, start + 75, context)!;
    const invert = POLICY_SPEC.read(source, start + 75, start + 76, context)!;
    if (match.length > 0) element.match = match;
    if (invert.length > 0) element.invert = invert;
    return element;
  },
};
const POLICY_SPEC = flags(U8, POLICY_FIELDS);
type PolicyField = keyof typeof POLICY_FIELDS | number;

const statisticToFields = ({ probability, ...rest }: Info): Info =>
  probability === undefined ? rest : { ...rest, every: probability };
const statisticFromFields = ({ every, ...rest }: Info): Info => {
  if (every === undefined) return rest;
  return rest.mode === 'nth' ? { ...rest, every } : { ...rest, probability: every };
};

const nfacct = structure('xt_nfacct_match_info_v1', { name: [32, fixedText(32), ''], _nfacct: [8, POINTER] });

export const STATE_MATCH_LAYOUTS: Layouts = {
  connbytes: {
    0: structure('xt_connbytes_info', {
      'count.from': [8, U64_NE, 0n],
      'count.to': [8, U64_NE, 0n],
      what: [1, named(U8, { packets: 0, bytes: 1, avgpkt: 2 }), 'packets', 'mode'],
      direction: [1, named(U8, { original: 0, reply: 1, both: 2 }), 'original'],
      _padding: [6, hexBytes(6)],
    }),
  },
  connlabel: {
    0: structure('xt_connlabel_mtinfo', {
      bit: [2, U16_NE, 0],
      options: [2, flags(U16_NE, { invert: 1, set: 2 }), []],
    }),
  },
  connlimit: {
    1: structure('xt_connlimit_info', {
      mask: [16, INET, null],
      limit: [4, U32_NE, 0],
      flags: [4, flags(U32_NE, { invert: 1, destination: 2 }), []],
      _data: [8, POINTER],
    }),
  },
  connmark: {
    1: structure('xt_connmark_mtinfo1', {
      mark: [4, U32_NE, 0],
      mask: [4, U32_NE, 0xffffffff],
      invert: [1, TRUTH, false],
      _padding: [3, hexBytes(3)],
    }),
  },
  helper: {
    0: structure('xt_helper_info', {
      invert: [4, TRUTH32, false],
      name: [30, fixedText(30), ''],
      _padding: [2, U16_NE],
    }),
  },
  hashlimit: {
    3: structure('xt_hashlimit_mtinfo3', {
      name: [255, fixedText(255), undefined],
      _between: [1, U8],
      'cfg.avg': [8, U64_NE, 0n, 'average'],
      'cfg.burst': [8, U64_NE, 0n],
      'cfg.mode': [4, flags(U32_NE, HASHLIMIT_MODE), []],
      'cfg.size': [4, U32_NE, 0],
      'cfg.max': [4, U32_NE, 0],
      'cfg.gc_interval': [4, U32_NE, 0, 'gcIntervalMs'],
      'cfg.expire': [4, U32_NE, 0, 'expireMs'],
      'cfg.interval': [4, U32_NE, 0],
      'cfg.srcmask': [1, U8, 0, 'sourceMask'],
      'cfg.dstmask': [1, U8, 0, 'destinationMask'],
      _padding: [6, hexBytes(6)],
      _hinfo: [8, POINTER],
    }),
  },
  quota: {
    0: structure('xt_quota_info', {
      flags: [4, flags(U32_NE, { invert: 1 }), []],
      _pad: [4, U32_NE],
      quota: [8, U64_NE, 0n],
      _master: [8, POINTER],
    }),
  },
  statistic: {
    0: structure(
      'xt_statistic_info',
      {
        mode: [2, named(U16_NE, { random: 0, nth: 1 }), 'random'],
        flags: [2, flags(U16_NE, { invert: 1 }), []],
        'u.nth.every': [4, U32_NE, 0],
        'u.nth.packet': [4, U32_NE, 0],
        'u.nth.count': [4, U32_NE, 0],
        _master: [8, POINTER],
      },
      {
        keys: ['mode', 'flags', 'every', 'packet', 'probability', 'count'],
        toFields: statisticToFields,
        fromFields: statisticFromFields,
      },
    ),
  },
  rateest: {
    0: structure('xt_rateest_match_info', {
      name1: [16, fixedText(16), ''],
      name2: [16, fixedText(16), ''],
      flags: [2, flags(U16_NE, { invert: 1, absolute: 2, relative: 4, delta: 8, bps: 16, pps: 32 }), []],
      mode: [2, named(U16_NE, { none: 0, equal: 1, less: 2, greater: 3 }), 'none'],
      bps1: [4, U32_NE, 0],
      pps1: [4, U32_NE, 0],
      bps2: [4, U32_NE, 0],
      pps2: [4, U32_NE, 0],
      _between: [4, hexBytes(4)],
      _est1: [8, POINTER],
      _est2: [8, POINTER],
    }),
  },
  recent: {
    1: structure('xt_recent_mtinfo_v1', {
      seconds: [4, U32_NE, 0],
      hit_count: [4, U32_NE, 0],
      check_set: [1, flags(U8, { check: 1, set: 2, update: 4, remove: 8, ttl: 16, reap: 32 }), []],
      invert: [1, TRUTH, false],
      name: [200, textOver(200, 'DEFAULT'), ''],
      side: [1, named(U8, { source: 0, destination: 1 }), 'source'],
      _between: [1, U8],
      mask: [16, INET, null],
    }),
  },
  time: {
    0: structure('xt_time_info', {
      date_start: [4, U32_NE, 0],
      date_stop: [4, U32_NE, 0],
      daytime_start: [4, U32_NE, 0],
      daytime_stop: [4, U32_NE, 0],
      monthdays_match: [4, U32_NE, 0, 'monthDays'],
      weekdays_match: [1, U8, 0, 'weekDays'],
      flags: [1, flags(U8, { 'local-time': 1, contiguous: 2 }), []],
      _padding: [2, U16_NE],
    }),
  },
  owner: {
    1: structure('xt_owner_match_info', {
      uid_min: [4, U32_NE, 0, 'firstUid'],
      uid_max: [4, U32_NE, 0, 'lastUid'],
      gid_min: [4, U32_NE, 0, 'firstGid'],
      gid_max: [4, U32_NE, 0, 'lastGid'],
      match: [1, flags(U8, { uid: 1, gid: 2, socket: 4, 'supplementary-groups': 8 }), []],
      invert: [1, flags(U8, { uid: 1, gid: 2, socket: 4, 'supplementary-groups': 8 }), []],
      _padding: [2, U16_NE],
    }),
  },
  socket: {
    3: structure('xt_socket_mtinfo3', {
      flags: [1, flags(U8, { transparent: 1, 'no-wildcard': 2, 'restore-mark': 4 }), []],
    }),
  },
  cgroup: {
    2: structure(
      'xt_cgroup_info_v2',
      {
        has_path: [1, TRUTH, false],
        has_classid: [1, TRUTH, false],
        invert_path: [1, TRUTH, false],
        invert_classid: [1, TRUTH, false],
        path: [512, hexBytes(512), '00'.repeat(512)],
        _between: [4, hexBytes(4)],
        _priv: [8, POINTER],
      },
      {
        keys: ['path', 'classid', 'invertPath', 'invertClassid'],
        toFields({ path, classid, ...rest }) {
          const bytes = Buffer.alloc(512);
          if (typeof path === 'string') bytes.write(path, 0, 511);
          else if (typeof classid === 'number') bytes.set(new Uint8Array(new Uint32Array([classid]).buffer));
          return {
            ...rest,
            hasPath: path !== undefined,
            hasClassid: classid !== undefined,
            path: bytes.toString('hex'),
          };
        },
        fromFields({ path = '', hasPath, hasClassid, ...rest }) {
          const bytes = Buffer.from((path as string).padEnd(1024, '0'), 'hex');
          if (hasPath) return { ...rest, path: bytes.toString('utf8', 0, bytes.indexOf(0)) };
          return hasClassid
            ? { ...rest, classid: new Uint32Array(new Uint8Array(bytes.subarray(0, 4)).buffer)[0] }
            : rest;
        },
      },
    ),
  },
  cpu: { 0: structure('xt_cpu_info', { cpu: [4, U32_NE, 0], invert: [4, TRUTH32, false] }) },
  cluster: {
    0: structure('xt_cluster_match_info', {
      total_nodes: [4, U32_NE, 0],
      node_mask: [4, U32_NE, 0],
      hash_seed: [4, U32_NE, 0],
      flags: [4, flags(U32_NE, { invert: 1 }), []],
    }),
  },
  devgroup: {
    0: structure('xt_devgroup_info', {
      flags: [4, flags(U32_NE, { source: 1, 'invert-source': 2, destination: 4, 'invert-destination': 8 }), []],
      src_group: [4, U32_NE, 0, 'source'],
      src_mask: [4, U32_NE, 0, 'sourceMask'],
      dst_group: [4, U32_NE, 0, 'destination'],
      dst_mask: [4, U32_NE, 0, 'destinationMask'],
    }),
  },
  physdev: {
    0: structure('xt_physdev_info', {
      physindev: [16, fixedText(16), '', 'in'],
      in_mask: [16, hexBytes(16), '00'.repeat(16)],
      physoutdev: [16, fixedText(16), '', 'out'],
      out_mask: [16, hexBytes(16), '00'.repeat(16)],
      invert: [1, flags(U8, { in: 1, out: 2, bridged: 4, 'is-in': 8, 'is-out': 16 }), []],
      bitmask: [1, flags(U8, { in: 1, out: 2, bridged: 4, 'is-in': 8, 'is-out': 16 }), [], 'match'],
    }),
  },
  rpfilter: {
    0: structure('xt_rpfilter_info', {
      flags: [1, flags(U8, { loose: 1, 'valid-mark': 2, 'accept-local': 4, invert: 8 }), []],
    }),
  },
  iprange: {
    1: structure('xt_iprange_mtinfo', {
      src_min: [16, INET_OR_ANY, '0.0.0.0', 'firstSource'],
      src_max: [16, INET_OR_ANY, '0.0.0.0', 'lastSource'],
      dst_min: [16, INET_OR_ANY, '0.0.0.0', 'firstDestination'],
      dst_max: [16, INET_OR_ANY, '0.0.0.0', 'lastDestination'],
      flags: [1, flags(U8, { source: 1, destination: 2, 'invert-source': 16, 'invert-destination': 32 }), []],
      _padding: [3, hexBytes(3)],
    }),
  },
  ipvs: {
    0: structure('xt_ipvs_mtinfo', {
      vaddr: [16, INET, null, 'address'],
      vmask: [16, INET, null, 'mask'],
      vport: [2, U16_BE, 0, 'port'],
      l4proto: [1, U8, 0, 'protocol'],
      fwd_method: [1, U8, 0, 'method'],
      vportctl: [2, U16_BE, 0, 'controlPort'],
      invert: [1, flags(U8, IPVS_FIELDS), []],
      bitmask: [1, flags(U8, IPVS_FIELDS), [], 'match'],
    }),
  },
  policy: {
    0: structure(
      'xt_policy_info',
      {
        pol: [304, listOf(POLICY_ELEMENTS, POLICY_BYTES, policyElement), [], 'elements'],
        flags: [2, flags(U16_NE, { in: 1, out: 2, none: 4, strict: 8 }), []],
        len: [2, U16_NE, 0, 'count'],
      },
      {
        keys: ['elements', 'flags', 'count'],
        fromFields: ({ elements = [], count = 0, ...rest }) => ({
          ...rest,
          elements: (elements as Info[]).slice(0, Math.max(count as number, 1)),
          count,
        }),
      },
    ),
  },
  set: {
    4: structure('xt_set_info_match_v4', {
      'match_set.index': [2, U16_NE, 0],
      'match_set.dim': [1, U8, 0, 'dimensions'],
      'match_set.flags': [1, U8, 0, 'sides'],
      _between: [4, hexBytes(4)],
      'packets.value': [8, U64_NE, 0n, 'packets'],
      'packets.op': [1, U8, 0, 'packetsOperation'],
      _after: [7, hexBytes(7)],
      'bytes.value': [8, U64_NE, 0n, 'bytes'],
      'bytes.op': [1, U8, 0, 'bytesOperation'],
      _afterBytes: [7, hexBytes(7)],
      flags: [4, U32_NE, 0],
      _padding: [4, hexBytes(4)],
    }),
  },
  osf: {
    0: structure('nf_osf_info', {
      genre: [32, fixedText(32), ''],
      len: [4, U32_NE, 0, 'length'],
      flags: [4, flags(U32_NE, { genre: 1, ttl: 2, log: 4, invert: 8 }), []],
      loglevel: [4, U32_NE, 0, 'logLevel'],
      ttl: [4, U32_NE, 0],
    }),
  },
  nfacct: { 0: nfacct, 1: nfacct },
};
