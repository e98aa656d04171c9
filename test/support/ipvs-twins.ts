import { execFileSync } from 'node:child_process';
import * as Vs from '../../src/linux/ip_vs.ts';
import type { NetNs } from '../../src/netns/index.ts';
import { type MemoryContainer, MemoryKernel, type PacketResult } from '../../src/testing/index.ts';
import { ForwardLab, MACS } from './forward-lab.ts';
import { FrameReceiver } from './frame-receiver.ts';
import { ETHERTYPES } from './frames.ts';
import { loadIpvs } from './ipvs-namespace.ts';
import { attribute, text, u16, u32 } from './ipvs-raw.ts';
import type { IpvsRequest } from './ipvs-requests.ts';
import { IpvsWire } from './ipvs-wire.ts';
import { type FrameSender, ip } from './nflog-lab.ts';
import { where } from './where.ts';

/** Servers behind i1, all of them at one address of Ethernet. */
export const SERVERS = [2, 3, 4, 5, 6, 7, 8, 9].map(host => ({ ipv4: `10.2.0.${host}`, ipv6: `fd00:2::${host}` }));
/** Addresses of the balancer, which its services have. */
export const VIRTUAL = { ipv4: '10.1.0.2', ipv6: 'fd00:1::2' } as const;

const genl = (command: number): string => `${command.toString(16).padStart(2, '0')}010000`;
const SERVICE_ENTRY = 104;
const DESTINATION_ENTRY = 96;
const ROOM = 40;

const etherTypeOf = (bytes: Uint8Array): number => (bytes[0]! >> 4 === 4 ? ETHERTYPES.ip : ETHERTYPES.ip6);

/** The same host twice: in a namespace of the real kernel, and in a kernel in memory. */
export class IpvsTwins {
  readonly #lab = new ForwardLab();
  readonly #from: FrameSender;
  readonly #back: FrameSender;
  readonly #receivers: Readonly<Record<'o0' | 'o1', FrameReceiver>>;
  readonly kernel: MemoryKernel;
  readonly container: MemoryContainer;
  readonly namespaces: readonly [real: NetNs, memory: NetNs];
  readonly wires: readonly [real: IpvsWire, memory: IpvsWire];

  constructor() {
    loadIpvs();
    const { inside } = this.#lab;
    ip(
      inside,
      ...SERVERS.flatMap(({ ipv4, ipv6 }) =>
        [ipv4, ipv6].map(address => `neigh replace ${address} lladdr ${MACS.third} dev i1`),
      ),
    );
    this.#from = this.#lab.from('o0');
    this.#back = this.#lab.from('o1');
    this.#receivers = {
      o0: new FrameReceiver(this.#lab.outside, 'o0'),
      o1: new FrameReceiver(this.#lab.outside, 'o1'),
    };
    const real = new IpvsWire(inside);
    this.kernel = MemoryKernel.create({
      ...(where !== 'host' && { release: where }),
      modules: modulesOf(real),
    });
    this.container = this.kernel.container('inside', {
      links: [
        { name: 'i0', addresses: ['10.1.0.2/24', 'fd00:1::2/64'] },
        { name: 'i1', addresses: ['10.2.0.1/24', 'fd00:2::1/64'] },
      ],
    });
    this.namespaces = [inside, this.container.netns];
    for (const name of ['net.ipv4.ip_forward', 'net.ipv6.conf.all.forwarding'])
      this.container.netns.sysctl.set(name, 1);
    this.wires = [real, new IpvsWire(this.container.netns)];
  }

  /** Both without services and daemons, and with the timeouts of the beginning. */
  reset(): void {
    for (const wire of this.wires) {
      wire.ask(genl(Vs.IPVS_CMD_FLUSH));
      for (const state of [1, 2]) wire.ask(genl(Vs.IPVS_CMD_DEL_DAEMON) + attribute(3, attribute(1, u32(state))));
      const seconds = [900, 120, 300].map((each, i) => attribute(4 + i, u32(each)));
      wire.ask(genl(Vs.IPVS_CMD_SET_CONFIG) + seconds.join(''));
    }
  }

  /** The answer of each to a request. */
  ask(request: IpvsRequest): [real: unknown, memory: unknown] {
    const [real, memory] = this.wires.map(wire =>
      request.via === 'sockopt'
        ? uninterrupted(wire.set(request.name, request.value))
        : comparable(wire.ask(request.payload, request.isDump)),
    );
    return [real, memory];
  }

  /** All that can be read of each, over both interfaces. */
  state(): [real: unknown, memory: unknown] {
    const [real, memory] = this.wires.map(wire => {
      const services = wire.ask(genl(Vs.IPVS_CMD_GET_SERVICE), true).answers.sort();
      return {
        services,
        // In their order: schedulers go by it.
        destinations: services.map(each => wire.ask(genl(Vs.IPVS_CMD_GET_DEST) + keyIn(each), true)),
        daemons: wire.ask(genl(Vs.IPVS_CMD_GET_DAEMON), true),
        config: wire.ask(genl(Vs.IPVS_CMD_GET_CONFIG)),
        info: wire.ask(genl(Vs.IPVS_CMD_GET_INFO)),
        options: optionsOf(wire),
      };
    });
    return [real, memory];
  }

  /** Sends a packet to both: by a frame, and into memory. */
  send(bytes: Uint8Array): PacketResult {
    this.#from.send(MACS.inside, MACS.outside, etherTypeOf(bytes), bytes);
    return this.container.receive({ bytes }, { on: 'i0' });
  }

  /** Sends a packet that comes from servers to both. What leaves towards clients or servers is compared by `left`. */
  answer(bytes: Uint8Array): PacketResult {
    this.#back.send(MACS.inside, MACS.third, etherTypeOf(bytes), bytes);
    return this.container.receive({ bytes }, { on: 'i1' });
  }

  /** The packets that the real one has sent since the last time, by the device they left by: hexadecimal digits from the network header on. */
  left(device: 'o0' | 'o1'): string[] {
    return this.#receivers[device].take();
  }

  /** The tables of connections of each, without the time that is left. The kernel loses lines of what is read while others end: see connections.ts. */
  connections(of: (line: string) => boolean): [real: string[], memory: string[]] {
    const [real, memory] = this.namespaces;
    const lines = (netns: NetNs) =>
      netns
        .readFile('/proc/net/ip_vs_conn')
        .split('\n')
        .slice(1)
        .filter(line => line !== '' && of(line))
        .map(line => line.replace(/ +\d+\s*$/, ''));
    const all = (netns: NetNs, times: number) => new Set(Array.from({ length: times }, () => lines(netns)).flat());
    return [[...all(real, 3)].sort(), [...all(memory, 1)].sort()];
  }

  async close(): Promise<void> {
    await Promise.all(this.wires.map(wire => wire.close()));
    for (const receiver of Object.values(this.#receivers)) receiver.close();
    this.#lab.close();
  }
}

/** The schedulers that the real kernel has: Debian's lacks one. */
function modulesOf(wire: IpvsWire): string[] {
  const key = attribute(1, u16(2)) + attribute(5, u32(0x7777));
  const rest = attribute(7, '00'.repeat(8)) + attribute(8, u32(0)) + attribute(9, 'ffffffff');
  const names = ['rr', 'wrr', 'lc', 'wlc', 'lblc', 'lblcr', 'dh', 'sh', 'sed', 'nq', 'fo', 'ovf', 'mh', 'twos'];
  const there = names.filter(name => {
    const made = wire.ask(genl(Vs.IPVS_CMD_NEW_SERVICE) + attribute(1, key + attribute(6, text(name)) + rest));
    wire.ask(genl(Vs.IPVS_CMD_DEL_SERVICE) + attribute(1, key));
    return made.errno === 0;
  });
  execFileSync('modprobe', ['ip_vs_pe_sip']);
  return ['ip_vs', 'ip_vs_pe_sip', ...there.map(name => `ip_vs_${name}`)];
}

/** Answers to a dump come in the order of hash tables. */
const comparable = ({ answers, errno }: ReturnType<IpvsWire['ask']>) => ({
  answers: answers.sort(),
  errno: uninterrupted(errno),
});

const EINTR = -4;
/** The kernel's errno where a daemon is stopped before its thread has run. Over netlink it acknowledges nothing then. */
const uninterrupted = (errno: number | undefined): number => (errno === EINTR ? 0 : (errno ?? 0));

/** The attributes that name the service that an answer tells of. */
function keyIn(answer: string): string {
  const bytes = Buffer.from(answer, 'hex');
  let key = '';
  for (let at = 8; at < bytes.length; ) {
    const size = bytes.readUInt16LE(at);
    const end = at + ((size + 3) & ~3);
    if (bytes.readUInt16LE(at + 2) <= 5) key += bytes.toString('hex', at, end);
    at = end;
  }
  return attribute(1, key);
}

/** The lists of the socket options: services without order, and the destinations of each in their order. */
function optionsOf(wire: IpvsWire) {
  const size = 8 + ROOM * SERVICE_ENTRY;
  const list = wire.get(Vs.IP_VS_SO_GET_SERVICES, u32(ROOM), size);
  const entries = typeof list === 'number' ? [] : entriesIn(list.slice(16), SERVICE_ENTRY);
  return {
    list: typeof list === 'number' ? list : entries.toSorted(),
    destinations: entries.toSorted().map(entry => {
      const request = entry.slice(0, 32) + u32(ROOM);
      const got = wire.get(Vs.IP_VS_SO_GET_DESTS, request, 24 + ROOM * DESTINATION_ENTRY);
      return typeof got === 'number' ? got : entriesIn(got.slice(48), DESTINATION_ENTRY);
    }),
    info: wire.get(Vs.IP_VS_SO_GET_INFO, '', 12),
    timeouts: wire.get(Vs.IP_VS_SO_GET_TIMEOUT, '', 12),
    daemons: wire.get(Vs.IP_VS_SO_GET_DAEMON, '', 48),
    version: wire.get(Vs.IP_VS_SO_GET_VERSION, '', 64),
    short: wire.get(Vs.IP_VS_SO_GET_INFO, '', 8),
    unknown: wire.get(Vs.IP_VS_BASE_CTL + 5, '', 64),
  };
}

const entriesIn = (digits: string, size: number): string[] =>
  Array.from({ length: ROOM }, (_, i) => digits.slice(i * 2 * size, (i + 1) * 2 * size)).filter(each =>
    /[^0]/.test(each),
  );
