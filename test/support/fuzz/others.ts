import { parseConnection } from '../../../src/ipvs/connections.ts';
import { Ipvs, parseRules } from '../../../src/ipvs/index.ts';
import { CTRL_ATTR_FAMILY_NAME, CTRL_CMD_GETFAMILY, GENL_ID_CTRL } from '../../../src/linux/genetlink.ts';
import { Exchange, GroupReader, genlmsghdr } from '../../../src/netlink/index.ts';
import { pidIn, startTimeIn } from '../../../src/netns/process.ts';
import { effectiveIn } from '../../../src/netns/user.ts';
import { explainPermission } from '../../../src/nflog/group-owner.ts';
import { type Link, Links, LinksMonitor } from '../../../src/rtnetlink/index.ts';
import { IpvsKernel, IpvsKernelTransport } from '../ipvs-kernel.ts';
import { MemoryTransport, message, received, refuse } from '../memory-transport.ts';
import { canonical, refuseControl, type Target } from './judge.ts';
import { mutated, mutatedText } from './mutate.ts';
import { answers, bytesOf, FuzzGroup } from './nftables.ts';
import type { Random } from './random.ts';
import recorded from './recorded.json' with { type: 'json' };

export const encode = (text: string): Uint8Array => new Uint8Array(Buffer.from(text));
export const decode = (bytes: Uint8Array): string => Buffer.from(bytes).toString();

export const makeText = (random: Random, pool: readonly Uint8Array[]): Uint8Array =>
  encode(mutatedText(decode(random.pick(pool)), random));

/**
 * RTM_NEWRULE (32) of IPv4 with selectors, an entry of a VXLAN device's table (RTM_NEWNEIGH, 28, of AF_BRIDGE), and nexthop objects
 * (RTM_NEWNEXTHOP, 104): a router and a group.
 */
const MORE = [
  '6000000020000200010000000000000002001000050000010000000008000600f4010000080002000a010000090003006574683000000000080018005000500008000f00050000000500160006000000050015000300000008000a0007000000',
  '400000001c00020001000000000000000700000003000000800002000a000200020000000001000008000100c00002010600060010920000080007004d000000',
  '30000000680002000100000000000000020003000000000008000100050000000800050002000000080006000a090002',
  '3c0000006800020001000000000000000000030000000000080001000700000014000200050000000200000006000000000000000600030000000000',
];

/** Devices, addresses, routes, neighbours, rules and tables of forwarding. */
export const rtnetlink: Target = {
  name: 'answers of rtnetlink',
  weight: 4,
  seeds: bytesOf([...recorded.links, ...recorded.addresses, ...recorded.routes, ...recorded.neighbours, ...MORE]),
  make: (random, pool) => mutated(random.pick(pool), random, pool),
  read(input, random) {
    const wire = new MemoryTransport(datagram =>
      received(datagram).flatMap(request => answers(request, input, random)),
    );
    const { sync } = new Links(new Exchange(wire, 'rtnetlink'));
    const ask = random.pick([
      () => sync.list(),
      () => sync.get('lo'),
      () => sync.addresses(),
      () => sync.routes(),
      () => sync.neighbours(),
      () => sync.rules(),
      () => sync.fdb(),
      () => sync.nextHopObjects(),
    ]);
    canonical(ask());
  },
};

/** Devices that the seeds name by their indexes. */
const DEVICES = Array.from({ length: 12 }, (_, i) => ({ index: i + 1, name: `eth${i}` }) as Link);

/** Events of all kinds of rtnetlink objects; some from a forger. */
export const rtnetlinkEvents: Target = {
  name: 'events of rtnetlink',
  weight: 2,
  seeds: rtnetlink.seeds,
  make: (random, pool) => mutated(random.pick(pool), random, pool),
  async read(input, random) {
    const socket = new FuzzGroup();
    const reader = new GroupReader(socket);
    const none = async () => [];
    const link = async () => DEVICES;
    const source = { link, address: none, route: none, neighbour: none, rule: none, fdb: none };
    const monitor = new LinksMonitor(reader, source, {}, () => {});
    socket.next = input;
    socket.port = random.chance(8) ? 1 + random.below(1000) : 0;
    const events = monitor[Symbol.asyncIterator]();
    const first = events.next();
    first.catch(() => {});
    // What waits for more is ended: there is no more.
    for (let turn = 0; turn < 60; turn++) await undefined;
    await monitor.close();
    const { value } = await first;
    if (socket.port !== 0 && (value !== undefined || reader.rejectedSenders !== 1))
      throw new Error('a forged event was read');
    if (value !== undefined) canonical(value);
  },
};

const ENOENT = -2;
const SERVICE = { protocol: 'tcp', address: '10.0.0.1', port: 80, scheduler: 'wlc' } as const;

/** A kernel with some services, whose answers can be spoilt. */
function ipvsKernel(): IpvsKernel {
  const kernel = new IpvsKernel();
  const { sync } = new Ipvs(new Exchange(new IpvsKernelTransport(kernel, 'netlink'), 'ipvs'));
  sync.addService(SERVICE);
  sync.addDestination(SERVICE, { address: '10.1.0.1', port: 80, forward: 'direct' });
  sync.addService({ firewallMark: 7, family: 'ipv6', scheduler: 'rr', persistence: { timeoutSeconds: 60 } });
  return kernel;
}

const KERNEL = ipvsKernel();

function recordedIpvs(): Uint8Array[] {
  const seen: Uint8Array[] = [];
  const wire = new IpvsKernelTransport(KERNEL, 'netlink');
  const receive = wire.receive.bind(wire);
  wire.receive = into => {
    const length = receive(into);
    if (length > 0) seen.push(into.slice(0, length));
    return length;
  };
  const { sync } = new Ipvs(new Exchange(wire, 'ipvs'));
  sync.services({ destinations: true });
  sync.info();
  sync.timeouts();
  return seen;
}

/** Answers over generic netlink, those of its controller among them. */
export const ipvsAnswers: Target = {
  name: 'answers of IPVS and of the controller',
  weight: 4,
  seeds: recordedIpvs(),
  make: (random, pool) => mutated(random.pick(pool), random, pool),
  read(input, random) {
    let refuse = random.chance(3);
    const wire = new IpvsKernelTransport(KERNEL, 'netlink');
    wire.send = (bytes, length) => {
      for (const request of received(bytes.slice(0, length))) {
        // ENOENT: the family has another number by now, and is asked for anew.
        if (refuse) {
          refuse = false;
          wire.push(...KERNEL.answer(spoilt(request.bytes)));
        } else wire.push(...answers(request, input, random));
      }
      return length;
    };
    const { sync } = new Ipvs(new Exchange(wire, 'ipvs'));
    const ask = random.pick([
      () => sync.services({ destinations: true }),
      () => sync.service(SERVICE),
      () => sync.destinations(SERVICE),
      () => sync.info(),
      () => sync.timeouts(),
      () => sync.syncDaemons(),
      () => sync.snapshot(),
    ]);
    canonical(ask());
  },
};

/** What the controller of generic netlink says of a family, whose number was another one before. */
export const controllerAnswers: Target = {
  name: 'answers of the controller of generic netlink',
  weight: 1,
  seeds: recordedController(),
  make: (random, pool) => mutated(random.pick(pool), random, pool),
  read(input, random) {
    let known = false;
    const wire = new IpvsKernelTransport(KERNEL, 'netlink');
    wire.send = (bytes, length) => {
      for (const request of received(bytes.slice(0, length))) {
        if (request.type === GENL_ID_CTRL) wire.push(...answers(request, input, random));
        else if (known) wire.push(...KERNEL.answer(request.bytes));
        else wire.push(refuse(request, ENOENT));
        known = request.type === GENL_ID_CTRL;
      }
      return length;
    };
    const { sync } = new Ipvs(new Exchange(wire, 'ipvs'));
    canonical(sync.timeouts());
  },
};

/** The answer to a question for IPVS, as this kernel in memory gives it. */
function recordedController(): Uint8Array[] {
  const call = message(GENL_ID_CTRL, 0, 1, writer => {
    genlmsghdr.write(writer, { cmd: CTRL_CMD_GETFAMILY, version: 1 });
    const start = writer.beginAttribute(CTRL_ATTR_FAMILY_NAME);
    writer.raw(Buffer.from('IPVS\0'));
    writer.endAttribute(start);
  });
  return [...KERNEL.answer(call)].filter(answer => typeof answer !== 'number');
}

/** A command that this kernel in memory does not have. */
function spoilt(request: Uint8Array): Uint8Array {
  const copy = Uint8Array.from(request);
  if (copy.length > 16) copy[16] = 0xfe;
  return copy;
}

/** The structures of the socket options: the kernel's bytes, some of them changed. */
export const ipvsOptions: Target = {
  name: 'structures of socket options',
  weight: 2,
  seeds: [new Uint8Array(4)],
  make: random => Uint8Array.from({ length: 4 + random.below(60) }, () => random.u32()),
  read(input, random) {
    const wire = new IpvsKernelTransport(KERNEL, 'sockopt');
    const real = KERNEL.options;
    const options = {
      set: real.set,
      get: (level: number, name: number, buffer: Uint8Array) => {
        const length = real.get(level, name, buffer);
        // Places and what to put there.
        for (let i = 0; i + 3 < input.length && buffer.length > 0; i += 4)
          buffer[((input[i]! << 8) | input[i + 1]!) % buffer.length] = input[i + 2]!;
        return random.chance(8) ? random.below(buffer.length + 1) : length;
      },
    };
    Object.defineProperty(wire, 'options', { value: () => options });
    const { sync } = new Ipvs(new Exchange(wire, 'ipvs'));
    const ask = random.pick([
      () => sync.services({ destinations: true }),
      () => sync.service(SERVICE),
      () => sync.info(),
      () => sync.timeouts(),
    ]);
    canonical(ask());
  },
};

/** Lines of /proc/net/ip_vs_conn: a persistence engine's data is what a client sent. */
export const connectionTable: Target = {
  name: 'line of ip_vs_conn',
  weight: 3,
  seeds: [
    'TCP 0A000001 C350 0A000064 0050 0A010001 0050 ESTABLISHED     899',
    'UDP 20010db8:0000:0000:0000:0000:0000:0000:0001 C350 20010db8:0000:0000:0000:0000:0000:0000:0002 13C4 20010db8:0000:0000:0000:0000:0000:0000:0003 13C4 UDP 299',
    'TCP 2001:0db8:0000:0000:0000:0000:0000:0001 C350 2001:0db8:0000:0000:0000:0000:0000:0002 0050 2001:0db8:0000:0000:0000:0000:0000:0003 0050 FIN_WAIT 7',
    'IP  0A000001 0000 00000007 0000 0A010001 0000 NONE             59 sip a84b4c76e66710@pc33',
  ].map(encode),
  make: makeText,
  read(input) {
    const connection = parseConnection(decode(input));
    if (typeof connection === 'string') refuseControl(connection);
    else canonical(connection);
  },
};

/** What ipvsadm has saved. */
export const ipvsadmText: Target = {
  name: 'text of ipvsadm',
  weight: 1,
  seeds: [
    '-A -t 10.0.0.1:80 -s wlc -p 60 -M 255.255.255.0\n-a -t 10.0.0.1:80 -r 10.1.0.1:80 -g -w 1\n',
    '-A -f 7 -6 -s mh -b mh-port\n-a -f 7 -6 -r [2001:db8::1]:80 -i -w 5 -x 10 -y 5 --tun-type gue --tun-port 6080\n',
  ].map(encode),
  make: makeText,
  read: input => void canonical(parseRules(decode(input))),
};

/** /proc/net/netlink and the table of NFLOG's groups, by which a refusal is explained. */
export const groupOwners: Target = {
  name: 'proc files about NFLOG groups',
  weight: 1,
  seeds: [
    '    5   4242     0 2 65531   100  1\n    6   77     0 2 65531   100  1\n',
    'sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode\n0000000000000000 12  4242       00000000 0        0        0     2        0        12345\n',
  ].map(encode),
  make: makeText,
  read(input, random) {
    const text = decode(input);
    const netns = { readFile: () => text };
    refuseControl(explainPermission(netns as never, random.pick([5, 6, 0, 65535])));
  },
};

const STAT = `4711 (web) x (1)) S 1 4711 4711 0 -1 4194560 ${'7 '.repeat(10)}20 0 1 0 123456 2404352 192 18446744073709551615`;
const STATUS =
  'Name:\tweb\nUmask:\t0022\nState:\tS (sleeping)\nPid:\t4711\nNSpid:\t4711\t1\nCapInh:\t0000000000000000\nCapEff:\t000001ffffffffff\n';

/** Files about processes, which name themselves; and what the kernel shows of a pidfd. */
export const processFiles: Target = {
  name: 'proc files about processes',
  weight: 1,
  seeds: ['pos:\t0\nflags:\t02000002\nmnt_id:\t15\nino:\t1049\nPid:\t4711\nNSpid:\t4711\n', STAT, STATUS].map(encode),
  make: makeText,
  read(input) {
    const text = decode(input);
    const time = startTimeIn(text);
    if (time !== undefined && !/^\d+$/.test(time)) throw new Error(`a time that is none: ${time}`);
    const effective = effectiveIn(text);
    if (effective < 0n || effective >= 1n << 64n) throw new Error(`capabilities that are none: ${effective}`);
    const pid = pidIn(text, 3);
    if (!Number.isInteger(pid) || pid < 1 || pid > 0x7fffffff) throw new Error(`a pid that is none: ${pid}`);
  },
};
