import fc from 'fast-check';
import * as Vs from '../../src/linux/ip_vs.ts';
import { attribute, be16, text, u16, u32 } from './ipvs-raw.ts';

/* Requests of all sorts to IPVS, many of them wrong, out of few keys, so that they meet. Bytes are hexadecimal digits, of a little-endian host. */

export type IpvsRequest =
  | { via: 'netlink'; payload: string; isDump: boolean }
  | { via: 'sockopt'; name: number; value: string };

const SCHEDULERS = ['rr', 'wrr', 'lc', 'wlc', 'lblc', 'lblcr', 'dh', 'sh', 'sed', 'nq', 'fo', 'ovf', 'mh', 'none'];
/** The order of numbers is that of weights: most are good. */
const mostly = <T>(good: fc.Arbitrary<T>, ...bad: fc.Arbitrary<T>[]): fc.Arbitrary<T> =>
  fc.oneof({ weight: 12, arbitrary: good }, ...bad.map(arbitrary => ({ weight: 1, arbitrary })));
const some = <T>(...values: T[]): fc.Arbitrary<T> => fc.constantFrom(...values);

const V4 = '00'.repeat(12);
const address4 = some('0a630001', '0a630002').map(each => each + V4);
const address6 = some('20010db8009900000000000000000001', '20010db8009900000000000000000002');
const server4 = mostly(
  some('0a020002', '0a020003', '0a020004').map(each => each + V4),
  // None, multicast, broadcast, the network's, the host's own, loopback, four bytes, twenty.
  some('00000000', 'e0000001', 'ffffffff', '0a0200ff', '0a020000', '0a020001', '7f000001', '00000001').map(
    each => each + V4,
  ),
  some('0a020002', `0a020002${'00'.repeat(16)}`, '0a02'),
);
const server6 = mostly(
  some('fd000002000000000000000000000002', 'fd000002000000000000000000000003'),
  some(
    '00000000000000000000000000000000',
    '00000000000000000000000000000001',
    'ff020000000000000000000000000001',
    'fe800000000000000000000000000077',
    '00000000000000000000ffff0a020002',
    '0000000000000000000000000a020002',
    'fec00000000000000000000000000001',
  ),
);

type Parts = Readonly<Record<number, string | undefined>>;
const nested = (type: number, parts: Parts): string => {
  const inside = Object.entries(parts)
    .map(([each, payload]) => (payload === undefined ? '' : attribute(Number(each), payload)))
    .join('');
  return attribute(type, inside);
};

/** Takes one of the attributes away, now and then, or cuts it short. */
const damaged = (parts: fc.Arbitrary<Parts>): fc.Arbitrary<Parts> =>
  parts.chain(all => {
    const numbers = Object.keys(all).map(Number);
    return mostly<Parts>(
      fc.constant(all),
      some(...numbers).map(number => ({ ...all, [number]: undefined })),
      some(...numbers).map(number => ({ ...all, [number]: all[number]?.slice(0, 2) })),
    );
  });

const family = mostly(some(2, 2, 10), some(0, 3, 11));

const byAddress = family.chain(af =>
  fc
    .tuple(mostly(some(6, 17), some(132, 1, 300)), af === 10 ? address6 : address4, mostly(some(80, 443), some(0, 21)))
    .map(([protocol, address, port]): Parts => ({ 1: u16(af), 2: u16(protocol), 3: address, 4: be16(port) })),
);
const byMark = fc.tuple(family, mostly(some(1, 7), some(0))).map(([af, mark]): Parts => ({ 1: u16(af), 5: u32(mark) }));
const key = fc.oneof({ weight: 3, arbitrary: byAddress }, { weight: 1, arbitrary: byMark });

const settings = fc
  .record({
    scheduler: mostly(
      some(...SCHEDULERS).map(text),
      some(text(''), text('RR'), text('nosuch'), text('a'.repeat(16)), '7272'),
    ),
    flags: fc.tuple(fc.integer({ min: 0, max: 0x7f }), some(0xffffffff, 0xffffffff, 0x1d, 0)),
    timeout: mostly(some(0, 60, 300), some(0xffffffff, 17179869)),
    netmask: mostly(
      some('ffffffff', 'ffffff00', '40000000', '80000000'),
      some('00000000', 'ff00ff00', '81000000', '00000040'),
    ),
    engine: mostly(
      some<string | undefined>(undefined),
      some(text('sip'), text('nosuch'), text(''), text('a'.repeat(17))),
    ),
  })
  .map(
    ({ scheduler, flags: [flags, mask], timeout, netmask, engine }): Parts => ({
      6: scheduler,
      7: u32(flags) + u32(mask),
      8: u32(timeout),
      9: netmask,
      11: engine,
    }),
  );

const service = damaged(fc.tuple(key, settings).map(([named, rest]) => ({ ...named, ...rest })));

const destination = damaged(
  mostly(some(2, 2, 10), some(0, 3)).chain(af =>
    fc
      .record({
        address: af === 10 ? server6 : server4,
        port: some(80, 8080),
        method: mostly(some(0, 2, 3), some(1, 4, 5, 0x105)),
        weight: mostly(some(0, 1, 2, 100), some(-1, 0x7fffffff, 65_536)),
        upper: mostly(some(0, 10, 50), some(0x80000001)),
        lower: mostly(some(0, 5), some(60)),
        type: mostly(some<string | undefined>(undefined, '00', '02'), some('01', '07')),
        tunnelPort: some<string | undefined>(undefined, '0000', '17c0'),
        sum: some<string | undefined>(undefined, '0100', '0200'),
        own: some(true, false),
      })
      .map(
        ({ address, port, method, weight, upper, lower, type, tunnelPort, sum, own }): Parts => ({
          1: address,
          2: be16(port),
          3: u32(method),
          4: u32(weight),
          5: u32(upper),
          6: u32(lower),
          11: own || af === 10 ? u16(af) : undefined,
          13: type,
          14: tunnelPort,
          15: sum,
        }),
      ),
  ),
);

const daemon = damaged(
  fc
    .record({
      state: mostly(some(1, 2), some(0, 3)),
      device: mostly(some('i0', 'i1'), some('nosuch', '')),
      id: some(0, 9, 300),
      length: some<number | undefined>(undefined, 0, 1, 1400, 65_535),
      group: mostly(some<string | undefined>(undefined, 'e0000063'), some('0a000001')),
      port: some<number | undefined>(undefined, 0, 9000),
      ttl: some<string | undefined>(undefined, '00', '04'),
    })
    .map(
      ({ state, device, id, length, group, port, ttl }): Parts => ({
        1: u32(state),
        2: text(device),
        3: u32(id),
        4: length === undefined ? undefined : u16(length),
        5: group,
        7: port === undefined ? undefined : u16(port),
        8: ttl,
      }),
    ),
);

const head = (command: number, version = 1): string =>
  [command, version, 0, 0].map(each => each.toString(16).padStart(2, '0')).join('');
const netlink = (command: number, attributes: string, isDump = false): IpvsRequest => ({
  via: 'netlink',
  payload: head(command) + attributes,
  isDump,
});

const onService = fc
  .tuple(mostly(some(Vs.IPVS_CMD_NEW_SERVICE, Vs.IPVS_CMD_SET_SERVICE)), service)
  .map(([command, parts]) => netlink(command, nested(1, parts)));
const onKey = fc
  .tuple(some(Vs.IPVS_CMD_DEL_SERVICE, Vs.IPVS_CMD_GET_SERVICE, Vs.IPVS_CMD_ZERO), damaged(key))
  .map(([command, parts]) => netlink(command, nested(1, parts)));
const onDestination = fc
  .tuple(
    some(Vs.IPVS_CMD_NEW_DEST, Vs.IPVS_CMD_NEW_DEST, Vs.IPVS_CMD_SET_DEST, Vs.IPVS_CMD_DEL_DEST),
    damaged(key),
    destination,
  )
  .map(([command, named, parts]) => netlink(command, nested(1, named) + nested(2, parts)));
const onDaemon = fc
  .tuple(some(Vs.IPVS_CMD_NEW_DAEMON, Vs.IPVS_CMD_DEL_DAEMON), daemon)
  .map(([command, parts]) => netlink(command, nested(3, parts)));
const seconds = mostly(some(0, 60, 900), some(8_589_934, 8_589_935, 0xffffffff)).map(u32);
const onConfig = fc.record({ 4: seconds, 5: seconds, 6: seconds }, { requiredKeys: [] }).map(parts =>
  netlink(
    Vs.IPVS_CMD_SET_CONFIG,
    Object.entries(parts)
      .map(([type, value]) => attribute(Number(type), value))
      .join(''),
  ),
);
const others = some(
  netlink(Vs.IPVS_CMD_GET_CONFIG, ''),
  netlink(Vs.IPVS_CMD_GET_INFO, ''),
  netlink(Vs.IPVS_CMD_GET_INFO, '', true),
  netlink(Vs.IPVS_CMD_GET_DEST, ''),
  netlink(Vs.IPVS_CMD_GET_DAEMON, ''),
  netlink(Vs.IPVS_CMD_SET_INFO, ''),
  netlink(Vs.IPVS_CMD_GET_SERVICE, ''),
  netlink(Vs.IPVS_CMD_NEW_SERVICE, ''),
  netlink(Vs.IPVS_CMD_NEW_DEST, ''),
  netlink(Vs.IPVS_CMD_NEW_DAEMON, ''),
  netlink(Vs.IPVS_CMD_ZERO, ''),
  netlink(Vs.IPVS_CMD_NEW_SERVICE, attribute(1, '00')),
  netlink(Vs.IPVS_CMD_SET_CONFIG, attribute(4, '0000')),
  netlink(0, ''),
  netlink(99, ''),
  netlink(Vs.IPVS_CMD_GET_DEST, '', true),
);

const padded = (name: string): string => Buffer.from(name.padEnd(16, '\0')).toString('hex');
const serviceUser = fc
  .record({
    protocol: mostly(some(6, 17), some(132, 1, 0)),
    address: some('0a630001', '0a630002', '00000000'),
    port: some(80, 443, 0),
    mark: mostly(some(0), some(1, 7)),
    scheduler: mostly(some(...SCHEDULERS).map(padded), some(padded('nosuch'), '61'.repeat(16))),
    flags: fc.integer({ min: 0, max: 0x3f }),
    timeout: some(0, 60),
    netmask: some('ffffffff', 'ffffff00'),
  })
  .map(
    ({ protocol, address, port, mark, scheduler, flags, timeout, netmask }) =>
      `${u16(protocol)}0000${address}${be16(port)}0000${u32(mark)}${scheduler}${u32(flags)}${u32(timeout)}${netmask}`,
  );
const destinationUser = fc
  .record({
    address: some('0a020002', '0a020003', '00000000', 'e0000001'),
    port: some(80, 8080),
    flags: mostly(some(0, 2, 3), some(1, 0x2000, 0xffffffff)),
    weight: mostly(some(0, 1, 5), some(-1)),
    upper: some(0, 10),
    lower: mostly(some(0, 5), some(20)),
  })
  .map(
    ({ address, port, flags, weight, upper, lower }) =>
      `${address}${be16(port)}0000${u32(flags)}${u32(weight)}${u32(upper)}${u32(lower)}`,
  );
const option = (name: number, value: string): IpvsRequest => ({ via: 'sockopt', name, value });
const bySockopt = fc.oneof(
  fc
    .tuple(some(Vs.IP_VS_SO_SET_ADD, Vs.IP_VS_SO_SET_EDIT, Vs.IP_VS_SO_SET_DEL, Vs.IP_VS_SO_SET_ZERO), serviceUser)
    .map(([name, value]) => option(name, value)),
  fc
    .tuple(
      some(Vs.IP_VS_SO_SET_ADDDEST, Vs.IP_VS_SO_SET_EDITDEST, Vs.IP_VS_SO_SET_DELDEST),
      serviceUser,
      destinationUser,
    )
    .map(([name, named, value]) => option(name, named + value)),
  some(
    option(Vs.IP_VS_SO_SET_TIMEOUT, u32(60) + u32(0) + u32(5)),
    option(Vs.IP_VS_SO_SET_TIMEOUT, u32(-1) + u32(0) + u32(5)),
    option(Vs.IP_VS_SO_SET_TIMEOUT, '00'),
    option(Vs.IP_VS_SO_SET_STARTDAEMON, u32(1) + padded('i1') + u32(9)),
    option(Vs.IP_VS_SO_SET_STARTDAEMON, u32(2) + padded('') + u32(9)),
    option(Vs.IP_VS_SO_SET_STOPDAEMON, u32(1) + padded('i1') + u32(9)),
    option(Vs.IP_VS_BASE_CTL, ''),
    option(Vs.IP_VS_BASE_CTL + 1, ''),
    option(Vs.IP_VS_BASE_CTL + 16, ''),
  ),
);

export const ipvsRequest: fc.Arbitrary<IpvsRequest> = fc.oneof(
  { weight: 6, arbitrary: onService },
  { weight: 2, arbitrary: onKey },
  { weight: 10, arbitrary: onDestination },
  { weight: 1, arbitrary: onDaemon },
  { weight: 1, arbitrary: onConfig },
  { weight: 1, arbitrary: others },
  { weight: 4, arbitrary: bySockopt },
);
