import { type Destination, Ipvs, type Service } from '../../src/ipvs/index.ts';
import { icmp, type PacketResult, tcp, udp } from '../../src/testing/index.ts';
import type { IpvsTwins } from './ipvs-twins.ts';

/* Every way to forward a packet, over two kernels: the bytes that leave, there and back. */

const CLIENT = { ipv4: '10.1.0.1', ipv6: 'fd00:1::1' } as const;
const VIRTUAL = { ipv4: '10.1.0.2', ipv6: 'fd00:1::2' } as const;
const SERVER = { ipv4: '10.2.0.2', ipv6: 'fd00:2::2' } as const;
const at = (address: string, port: number) => (address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`);

type Family = 'ipv4' | 'ipv6';
const FAMILIES: readonly Family[] = ['ipv4', 'ipv6'];

const METHODS: readonly Pick<Destination, 'forward' | 'tunnel'>[] = [
  { forward: 'masquerade' },
  { forward: 'direct' },
  { forward: 'tunnel' },
  { forward: 'tunnel', tunnel: { type: 'gre' } },
  { forward: 'tunnel', tunnel: { type: 'gre', checksum: 'required' } },
  { forward: 'tunnel', tunnel: { type: 'gue', port: 6080 } },
];

export interface BytesDifference {
  what: string;
  real: unknown;
  memory: unknown;
}

/**
 * The id of a packet that the kernel makes itself, and the source port of GUE, are its own choice. The sums of GRE and of rewritten ICMPv6
 * are left to the device, and veth leaves them out.
 */
function comparable(packet: string): string {
  const bytes = Buffer.from(packet, 'hex');
  const isV4 = bytes[0]! >> 4 === 4;
  const protocol = isV4 ? bytes[9]! : bytes[6]!;
  if (isV4 && [4, 41, 47, 17].includes(protocol) && bytes.readUInt16BE(2) > 60) bytes.fill(0, 4, 6);
  if (isV4 && [4, 41, 47, 17].includes(protocol)) bytes.fill(0, 10, 12);
  const transport = isV4 ? 20 : 40;
  if (protocol === 17 && bytes.readUInt16BE(transport + 2) === 6080) bytes.fill(0, transport, transport + 2);
  if (protocol === 47 && bytes[transport]! >> 7 === 1) bytes.fill(0, transport + 4, transport + 6);
  if (!isV4 && protocol === 58) bytes.fill(0, transport + 2, transport + 4);
  return bytes.toString('hex');
}

/** Of `left` on the real kernel, without what the kernel says by itself: neighbours and multicast. */
function ours(packets: readonly string[]): string[] {
  return packets.filter(each => {
    const isV4 = each[0] === '4';
    if (!isV4 && each[0] !== '6') return false;
    // IGMP: reports of groups, of sync daemons as well.
    if (isV4 && each.slice(18, 20) === '02') return false;
    return isV4 || (each.slice(12, 14) !== '3a' && each.slice(12, 14) !== '00') || /^6.{11}3a.{66}(01|03)/.test(each);
  });
}

export function differences(twins: IpvsTwins): { cases: number; differences: BytesDifference[] } {
  const found: BytesDifference[] = [];
  let cases = 0;
  let port = 20_000;
  const handles = twins.namespaces.map(netns => Ipvs.open({ netns }));
  const compare = (what: string, device: 'o0' | 'o1', result: PacketResult) => {
    cases++;
    const real = ours(twins.left(device)).map(comparable);
    const memory = result.verdict === 'forward' ? [comparable(result.packet.bytes)] : [];
    if (JSON.stringify(real) !== JSON.stringify(memory))
      found.push({ what, real, memory: [result.verdict, ...memory] });
  };
  const clear = () => {
    twins.left('o0');
    twins.left('o1');
  };
  for (const family of FAMILIES)
    for (const to of FAMILIES)
      for (const protocol of ['tcp', 'udp'] as const)
        for (const method of METHODS) {
          if (to !== family && method.forward !== 'tunnel') continue;
          const own = ++port;
          const service: Service = { protocol, address: VIRTUAL[family], port: own, scheduler: 'rr' };
          const destination = { address: SERVER[to], port: method.forward === 'masquerade' ? 8080 : own, ...method };
          for (const { sync } of handles) {
            sync.addService(service);
            sync.addDestination(service, destination);
          }
          const what = `${family} ${protocol} by ${JSON.stringify(method)} to ${to}`;
          const ends = { from: at(CLIENT[family], 40_000), to: at(VIRTUAL[family], own) };
          const back = { from: at(SERVER[to], destination.port), to: at(CLIENT[family], 40_000) };
          const make = protocol === 'tcp' ? tcp : udp;
          clear();
          for (const ttl of [64, 2, 1])
            compare(`${what}, TTL ${ttl}`, 'o1', twins.send(bytesOf(make({ ...ends, ttl, payload: 'hello' }))));
          clear();
          if (method.forward === 'masquerade') {
            compare(`${what}, answered`, 'o0', twins.answer(bytesOf(make({ ...back, payload: 'hello back' }))));
            clear();
            // A router behind the balancer says that the server is not to be reached.
            const sent = make({
              from: at(CLIENT[family], 40_000),
              to: at(SERVER[to], destination.port),
              payload: 'hello',
            });
            const error = icmp({
              from: to === 'ipv4' ? '10.2.0.9' : 'fd00:2::9',
              to: CLIENT[family],
              type: to === 'ipv4' ? 3 : 1,
              code: 1,
              id: 0,
              sequence: 0,
              payload: quoted(sent.bytes),
            });
            compare(`${what}, an error behind it`, 'o0', twins.answer(bytesOf(error)));
            clear();
            // The client says that it does not want the answer.
            const answer = make({
              from: at(VIRTUAL[family], own),
              to: at(CLIENT[family], 40_000),
              payload: 'hello back',
            });
            const refusal = icmp({
              from: CLIENT[family],
              to: VIRTUAL[family],
              type: family === 'ipv4' ? 3 : 1,
              code: 3,
              id: 0,
              sequence: 0,
              payload: quoted(answer.bytes),
            });
            compare(`${what}, an error of the client`, 'o1', twins.send(bytesOf(refusal)));
          }
          clear();
          for (const { sync } of handles) sync.removeService(service);
        }
  return { cases, differences: found };
}

const bytesOf = ({ bytes }: { readonly bytes: string }): Uint8Array => Buffer.from(bytes, 'hex');
const quoted = (bytes: string): Uint8Array => Buffer.from(bytes, 'hex');
