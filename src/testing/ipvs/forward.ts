import * as Vs from '../../linux/ip_vs.ts';
import type { Machine } from '../machine/machine.ts';
import type { Namespace } from '../machine/state.ts';
import { type Packet, u16 } from '../packets/packet.ts';
import { isModelled, schedule } from './schedule.ts';
import type { Destination, IpvsConnection, Service } from './state.ts';

const TCP = 6;
const UDP = 17;
const SYN = 2;
const RST = 4;
const FIN = 1;
const ACK = 16;

/** Where a packet of a service goes. */
export interface Forwarded {
  readonly address: Uint8Array;
  readonly port: number;
  readonly method: number;
}

/** What IPVS does with a packet for this host: it is not its, no server may have it, or it goes to one. */
export type Fate = 'not-ours' | 'no-server' | Forwarded;

const hex = (bytes: Uint8Array): string => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('hex');
const equal = (a: Uint8Array, b: Uint8Array): boolean => a.every((byte, i) => byte === b[i]);

const seconds = (count: number): bigint => BigInt(count) * 1000n;
/** By the name of a state: SYN_RECV and its like. */
const TIMEOUTS: Record<string, number> = { SYN_RECV: 60, FIN_WAIT: 120, CLOSE: 10, TIME_WAIT: 120, CLOSE_WAIT: 60 };

function find(
  { ipvs }: Namespace,
  packet: Packet,
  protocol: number,
  address: Uint8Array,
  port: number,
): Service | undefined {
  const family = address.length === 4 ? 2 : 10;
  const marked =
    packet.mark === 0 ? undefined : ipvs.services.find(each => each.mark === packet.mark && each.family === family);
  if (marked !== undefined) return marked;
  const at = (wanted: number) =>
    ipvs.services.find(
      each => each.mark === 0 && each.protocol === protocol && each.port === wanted && equal(each.address, address),
    );
  return at(port) ?? at(0);
}

/** A packet that has come to the input hook (ip_vs_in). */
export function forward(machine: Machine, namespace: Namespace, packet: Packet): Fate {
  const { bytes, transport, transportProtocol: protocol } = packet;
  if (namespace.ipvs.services.length === 0 && namespace.ipvs.connections.size === 0) return 'not-ours';
  if (transport === undefined || (protocol !== TCP && protocol !== UDP)) return 'not-ours';
  const [start, length] = packet.protocol === 0x0800 ? [12, 4] : [8, 16];
  const client = { address: bytes.slice(start, start + length), port: u16(bytes, transport) };
  const address = bytes.slice(start + length, start + 2 * length);
  const port = u16(bytes, transport + 2);
  const flags = protocol === TCP ? bytes[transport + 13]! : 0;
  const key = `${protocol} ${hex(client.address)}:${client.port} ${hex(address)}:${port}`;
  const { now } = machine.state;
  const known = namespace.ipvs.connections.get(key);
  if (known !== undefined && known.expires <= now) end(namespace, key, known);
  const connection =
    namespace.ipvs.connections.get(key) ??
    begin(machine, namespace, packet, key, { protocol, client, address, port, flags });
  if (typeof connection === 'string') return connection;
  const { destination, service } = connection;
  for (const { counters } of [destination, service, namespace.ipvs]) {
    counters.inPackets++;
    counters.inBytes += BigInt(bytes.length);
  }
  if (protocol === TCP) advance(connection, flags, namespace, now);
  else connection.expires = now + seconds(namespace.ipvs.timeouts.udp);
  return { address: destination.address, port: destination.port, method: destination.method };
}

interface Arrival {
  readonly protocol: number;
  readonly client: { readonly address: Uint8Array; readonly port: number };
  readonly address: Uint8Array;
  readonly port: number;
  readonly flags: number;
}

function begin(
  machine: Machine,
  namespace: Namespace,
  packet: Packet,
  key: string,
  arrival: Arrival,
): IpvsConnection | 'not-ours' | 'no-server' {
  const { protocol, client, address, port, flags } = arrival;
  const service = find(namespace, packet, protocol, address, port);
  if (service === undefined) return 'not-ours';
  // A connection begins with a SYN, unless sloppy_tcp says otherwise.
  const isSloppy = namespace.sysctls.get('net/ipv4/vs/sloppy_tcp') === '1';
  if (protocol === TCP && (flags & RST ? true : !(flags & SYN) && !isSloppy)) return 'not-ours';
  const destination = persistent(machine, namespace, service, client) ?? choose(machine, service, client);
  if (destination === undefined) return 'no-server';
  if ((service.flags & Vs.IP_VS_SVC_F_PERSISTENT) !== 0)
    remember(machine, namespace, service, client.address, destination);
  for (const { counters } of [destination, service, namespace.ipvs]) counters.connections++;
  const connection: IpvsConnection = {
    service,
    destination,
    state: 'NONE',
    isActive: false,
    expires: machine.state.now + seconds(60),
  };
  if ((service.flags & Vs.IP_VS_SVC_F_ONEPACKET) !== 0 && protocol === UDP) return connection;
  namespace.ipvs.connections.set(key, connection);
  destination.inactive++;
  check(destination);
  return connection;
}

function choose(machine: Machine, service: Service, client: Arrival['client']): Destination | undefined {
  if (!isModelled(service.scheduler)) return machine.notModelled(`the scheduler ${service.scheduler}`);
  return schedule(service, client);
}

/** The network of a client, as the netmask of the service has it. */
function templateKey(service: Service, address: Uint8Array): string {
  const network = address.slice();
  if (address.length === 4) {
    const mask = new Uint8Array(4);
    new DataView(mask.buffer).setUint32(0, service.netmask, true);
    for (let i = 0; i < 4; i++) network[i]! &= mask[i]!;
  } else {
    for (let bit = service.netmask; bit < 128; bit++) network[bit >> 3]! &= ~(0x80 >> (bit & 7));
  }
  return `${service.mark} ${service.protocol} ${hex(service.address)}:${service.port} ${hex(network)}`;
}

function persistent(
  { state }: Machine,
  { ipvs, sysctls }: Namespace,
  service: Service,
  client: Arrival['client'],
): Destination | undefined {
  if ((service.flags & Vs.IP_VS_SVC_F_PERSISTENT) === 0) return undefined;
  const template = ipvs.templates.get(templateKey(service, client.address));
  if (template === undefined || template.expires <= state.now || !service.destinations.includes(template.destination))
    return undefined;
  const isQuiet = template.destination.weight === 0 && sysctls.get('net/ipv4/vs/expire_quiescent_template') === '1';
  return isQuiet ? undefined : template.destination;
}

function remember(
  { state }: Machine,
  { ipvs }: Namespace,
  service: Service,
  address: Uint8Array,
  destination: Destination,
): void {
  ipvs.templates.set(templateKey(service, address), { destination, expires: state.now + seconds(service.timeout) });
}

/** What a packet of the client does to the state of its connection; without the answers, as in direct routing. */
function advance(connection: IpvsConnection, flags: number, namespace: Namespace, now: bigint): void {
  const { state } = connection;
  let next = state;
  if (flags & RST) next = state === 'SYN_RECV' ? 'SYN_RECV' : 'CLOSE';
  else if (flags & SYN) next = 'SYN_RECV';
  else if (flags & FIN) next = 'FIN_WAIT';
  else if (flags & ACK) next = state === 'FIN_WAIT' || state === 'CLOSE' ? state : 'ESTABLISHED';
  connection.state = next;
  const timeout =
    next === 'ESTABLISHED'
      ? namespace.ipvs.timeouts.tcp
      : next === 'FIN_WAIT'
        ? namespace.ipvs.timeouts.tcpFin
        : TIMEOUTS[next]!;
  connection.expires = now + seconds(timeout);
  const isActive = next === 'SYN_RECV' || next === 'ESTABLISHED';
  if (isActive === connection.isActive) return;
  connection.isActive = isActive;
  const { destination } = connection;
  destination.active += isActive ? 1 : -1;
  destination.inactive += isActive ? -1 : 1;
  check(destination);
}

/** A server that has as many connections as its upper threshold gets no more until it is below the lower one. */
function check(destination: Destination): void {
  const { upper, lower, active, inactive } = destination;
  const total = active + inactive;
  if (upper === 0) destination.overloaded = false;
  else if (total >= upper) destination.overloaded = true;
  else if (total < (lower === 0 ? upper - Math.floor(upper / 4) : lower)) destination.overloaded = false;
}

function end({ ipvs }: Namespace, key: string, { destination, isActive }: IpvsConnection): void {
  ipvs.connections.delete(key);
  if (isActive) destination.active--;
  else destination.inactive--;
  check(destination);
}
