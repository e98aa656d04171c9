import { addressVersion, checkAddress, checkInteger, checkObject, checkOneOf, checkString } from '../codec/index.ts';
import { Container, type Redirect } from '../container/index.ts';
import { type Path, rangeError, typeError, within } from '../errors.ts';
import { readDrain, type Waiting } from '../ipvs/drain.ts';
import type { ServiceKey } from '../ipvs/index.ts';
import type { BalancedServer, BalancedService, MarkedPort } from './declaration.ts';
import { type Check, readHealth } from './health/declaration.ts';
import { DEFAULT_STEP, DEFAULT_WEIGHT_INTERVAL_MS, type WeightPolicy } from './weights.ts';

/*
 * A declaration that was checked, with its defaults.
 */

/** A server of a service. */
export interface DeclaredServer {
  readonly name: string;
  readonly address: string;
  /** The port by which balancers reach it. */
  readonly port: number;
  /** The port at which its program listens. */
  readonly toPort: number;
  readonly weight: number;
  readonly container: Container | undefined;
  readonly log: BalancedServer['log'];
  /** Whether it is the fallback, which is not checked. */
  readonly isFallback: boolean;
}

/** A service. */
export interface DeclaredService {
  readonly name: string;
  /** The declaration as it was given. */
  readonly given: BalancedService;
  readonly family: 'ipv4' | 'ipv6';
  readonly key: ServiceKey;
  /** The address, and more of them if the service has a mark. */
  readonly addresses: readonly string[];
  /** The ports that the service's mark stands for; empty for a service of one port. */
  readonly marked: readonly { readonly from: number; readonly to: number }[];
  readonly servers: readonly DeclaredServer[];
  readonly fallback: DeclaredServer | undefined;
  readonly quorum: number;
  readonly hysteresis: number;
  /** How a server that leaves loses its connections; undefined: at once. */
  readonly drain: Waiting | undefined;
  readonly check: Check | undefined;
  readonly weights: Required<WeightPolicy> | undefined;
}

const SERVICE_FIELDS = [
  'name',
  'protocol',
  'address',
  'port',
  'firewallMark',
  'moreAddresses',
  'scheduler',
  'schedulerFlags',
  'forward',
  'persistence',
  'device',
  'label',
  'servers',
  'health',
  'drain',
  'fallback',
  'quorum',
  'hysteresis',
  'weights',
  'accept',
  'replies',
] as const satisfies (keyof BalancedService)[];
const SERVER_FIELDS = [
  'name',
  'address',
  'port',
  'container',
  'toPort',
  'weight',
  'log',
] as const satisfies (keyof BalancedServer)[];
const NAME = /^[A-Za-z0-9._-]{1,63}$/;
const NAME_RULE = "1 to 63 letters, digits, '.', '_' and '-'";
/** What weights are multiplied by where they rise in steps: declared ones are small, 1 to 10 as a rule. */
export const SLOW_START_SCALE = 100;

/**
 * Checks a declaration. Paths begin with the index of the service.
 * @throws TypeError, RangeError
 */
export function readDeclaration(services: readonly BalancedService[]): DeclaredService[] {
  if (!Array.isArray(services)) throw typeError([], 'an array of services', services);
  const names = new Map<string, number>();
  const keys = new Map<string, number>();
  return services.map((service: BalancedService, index) => {
    try {
      const declared = readService(service);
      refuseTwin(names, declared.name, index, ['name'], declared.name);
      for (const key of occupied(declared)) refuseTwin(keys, key, index, [], service);
      return declared;
    } catch (error) {
      throw within(error, [index]);
    }
  });
}

function refuseTwin(seen: Map<string, number>, key: string, index: number, path: Path, value: unknown): void {
  const twin = seen.get(key);
  if (twin !== undefined && twin !== index)
    throw rangeError(path, `something that services[${twin}] does not have`, value, 'ERR_DUPLICATE');
  seen.set(key, index);
}

/** Each address and port that a service takes packets for. */
function occupied({ given, marked, addresses }: DeclaredService): string[] {
  const { protocol, address, port } = given;
  if (port !== undefined) return [`${protocol} ${address} ${port}`];
  return addresses.flatMap(each =>
    marked.flatMap(({ from, to }) =>
      Array.from({ length: to - from + 1 }, (_, i) => `${protocol} ${each} ${from + i}`),
    ),
  );
}

/**
 * Checks one service.
 * @param withoutContainers `toPort` and `log` are taken without a container: it is on another host
 * @throws TypeError, RangeError
 */
export function readService(service: BalancedService, withoutContainers = false): DeclaredService {
  checkObject(service, [], SERVICE_FIELDS);
  const { protocol, address, scheduler, forward, device, label, accept, replies } = service;
  const name = checkName(service.name, ['name']);
  checkOneOf(protocol, ['protocol'], ['tcp', 'udp', 'sctp']);
  const family = checkAddress(address, ['address']) === 4 ? 'ipv4' : 'ipv6';
  checkOneOf(forward, ['forward'], ['direct', 'masquerade', 'tunnel']);
  checkString(scheduler, ['scheduler'], 15);
  if (device !== undefined) checkString(device, ['device'], 15);
  if (label !== undefined) {
    checkString(label, ['label'], 15);
    if (family === 'ipv6') throw rangeError(['label'], 'no label for an IPv6 address: the kernel has none', label);
    if (device === undefined) throw typeError(['device'], 'a device, for the label', device);
  }
  if (accept !== undefined) {
    checkOneOf(accept, ['accept'], ['redirect', 'alias']);
    if (forward !== 'direct') throw rangeError(['accept'], "no `accept` unless `forward` is 'direct'", accept);
  }
  if (replies !== undefined) {
    if (forward !== 'masquerade')
      throw rangeError(['replies'], "no `replies` unless `forward` is 'masquerade'", replies);
    if (typeof replies === 'object' && replies !== null) {
      checkObject(replies, ['replies'], ['route']);
      checkAddress(replies.route, ['replies', 'route']);
    } else checkOneOf(replies, ['replies'], ['none', 'snat']);
  }
  const marked = readPorts(service);
  const addresses = readAddresses(service, withoutContainers);
  const key: ServiceKey =
    marked.length === 0 ? { protocol, address, port: service.port! } : { firewallMark: markOf(name), family };
  const { servers, persistence, quorum = 1, hysteresis = 0 } = service;
  if (!Array.isArray(servers)) throw typeError(['servers'], 'an array of servers', servers);
  const check =
    service.health === undefined ? undefined : readHealth(service.health, { scheduler, persistence }, ['health']);
  checkInteger(quorum, ['quorum'], 1, 65_535);
  checkInteger(hysteresis, ['hysteresis'], 0, 65_535);
  const declaredServers = servers.map((server: BalancedServer, i) =>
    readServer(server, service, check, ['servers', i], { isFallback: false, withoutContainers }),
  );
  const seen = new Map<string, number>();
  const places = new Map<string, number>();
  for (const [i, server] of declaredServers.entries()) {
    refuseTwinServer(seen, server.name, i, 'name', service);
    refuseTwinServer(places, `${server.address} ${server.port}`, i, 'address', service);
  }
  const fallback =
    service.fallback === undefined
      ? undefined
      : readServer(service.fallback, service, check, ['fallback'], { isFallback: true, withoutContainers });
  if (fallback !== undefined) {
    if (seen.has(fallback.name))
      throw rangeError(['fallback', 'name'], 'a name that no server has', fallback.name, 'ERR_DUPLICATE');
    if (places.has(`${fallback.address} ${fallback.port}`))
      throw rangeError(
        ['fallback', 'address'],
        'a server that is not among `servers`',
        fallback.address,
        'ERR_DUPLICATE',
      );
  }
  return {
    name,
    given: service,
    family,
    key,
    addresses,
    marked,
    servers: declaredServers,
    fallback,
    quorum,
    hysteresis,
    drain: readDrain(service.drain, ['drain'])(key),
    check,
    weights: readWeights(service.weights),
  };
}

function refuseTwinServer(
  seen: Map<string, number>,
  key: string,
  index: number,
  field: string,
  service: BalancedService,
): void {
  const twin = seen.get(key);
  if (twin !== undefined)
    throw rangeError(
      ['servers', index, field],
      `another one than servers[${twin}] has`,
      service.servers[index],
      'ERR_DUPLICATE',
    );
  seen.set(key, index);
}

function checkName(name: unknown, path: Path): string {
  if (typeof name !== 'string') throw typeError(path, NAME_RULE, name);
  if (!NAME.test(name)) throw rangeError(path, NAME_RULE, name);
  return name;
}

function readServer(
  server: BalancedServer,
  service: BalancedService,
  check: Check | undefined,
  path: Path,
  { isFallback, withoutContainers }: { isFallback: boolean; withoutContainers: boolean },
): DeclaredServer {
  checkObject(server, path, SERVER_FIELDS);
  const { address, container, log, weight = 1 } = server;
  const version = checkAddress(address, [...path, 'address']);
  if (service.forward !== 'tunnel' && version !== addressVersion(service.address))
    throw rangeError(
      [...path, 'address'],
      `an address of the service's family, unless \`forward\` is 'tunnel'`,
      address,
    );
  const port = server.port ?? portOf(service);
  checkInteger(port, [...path, 'port'], 0, 65_535);
  if (service.forward !== 'masquerade' && server.port !== undefined && server.port !== portOf(service))
    throw rangeError(
      [...path, 'port'],
      `the service's port: with '${service.forward}' IPVS does not change ports; \`toPort\` does in a container`,
      server.port,
    );
  if (container !== undefined && !(container instanceof Container))
    throw typeError([...path, 'container'], 'a Container', container);
  const { toPort = port } = server;
  checkInteger(toPort, [...path, 'toPort'], 0, 65_535);
  if (toPort !== port && container === undefined && !withoutContainers)
    throw typeError([...path, 'toPort'], 'a `container`, which redirects to that port', toPort);
  if (toPort !== port && service.accept === 'alias')
    throw rangeError([...path, 'toPort'], "no other port with `accept: 'alias'`", toPort);
  if (log !== undefined) {
    checkObject(log, [...path, 'log'], ['group', 'prefix', 'level']);
    if (container === undefined && !withoutContainers)
      throw typeError([...path, 'log'], 'a `container`, which logs', log);
    checkInteger(log.group, [...path, 'log', 'group'], 0, 0xffff);
  }
  const scale = check !== undefined && check.slowStartMs > 0 ? SLOW_START_SCALE : 1;
  checkInteger(weight, [...path, 'weight'], 0, Math.floor(65_535 / scale));
  const name = server.name === undefined ? `${address}:${port}` : checkName(server.name, [...path, 'name']);
  return { name, address, port, toPort, weight, container, log, isFallback };
}

/** The port by which servers are reached unless they say otherwise. A service of a mark keeps the port of each packet: 0. */
const portOf = ({ port = 0 }: BalancedService): number => port;

function readPorts({ port, firewallMark }: BalancedService): { from: number; to: number }[] {
  if ((port === undefined) === (firewallMark === undefined))
    throw typeError([], 'one of `port` and `firewallMark`', port ?? firewallMark);
  if (firewallMark === undefined) {
    checkInteger(port, ['port'], 1, 65_535);
    return [];
  }
  if (!Array.isArray(firewallMark)) throw typeError(['firewallMark'], 'an array of ports and ranges', firewallMark);
  if (firewallMark.length === 0) throw rangeError(['firewallMark'], 'at least one port', firewallMark);
  const ports = firewallMark.map((each: MarkedPort, i) => {
    const range = typeof each === 'number' ? { from: each, to: each } : each;
    checkObject(range, ['firewallMark', i], ['from', 'to']);
    checkInteger(range.from, ['firewallMark', i, 'from'], 1, 65_535);
    checkInteger(range.to, ['firewallMark', i, 'to'], range.from, 65_535);
    return { from: range.from, to: range.to };
  });
  const sorted = [...ports].sort((a, b) => a.from - b.from);
  for (const [i, { from }] of sorted.entries())
    if (i > 0 && from <= sorted[i - 1]!.to)
      throw rangeError(['firewallMark'], 'ports that do not overlap', firewallMark, 'ERR_OVERLAP');
  return sorted;
}

function readAddresses({ address, moreAddresses, firewallMark }: BalancedService, isOfCluster: boolean): string[] {
  if (moreAddresses === undefined) return [address];
  if (!Array.isArray(moreAddresses)) throw typeError(['moreAddresses'], 'an array of addresses', moreAddresses);
  if (firewallMark === undefined)
    throw rangeError(['moreAddresses'], 'no more addresses unless the service has `firewallMark`', moreAddresses);
  // A cluster gives each address a holder of its own.
  if (isOfCluster) throw rangeError(['moreAddresses'], 'one address for a service of a cluster', moreAddresses);
  const all = [address];
  for (const [i, each] of moreAddresses.entries()) {
    const version = checkAddress(each, ['moreAddresses', i]);
    if (version !== addressVersion(address))
      throw rangeError(['moreAddresses', i], 'an address of the same IP version as `address`', each);
    if (all.includes(each))
      throw rangeError(['moreAddresses', i], 'an address that is not there yet', each, 'ERR_DUPLICATE');
    all.push(each);
  }
  return all;
}

/** Marks of services: 0x4e53 ('NS') in the upper half, so that they differ from those of most others. */
function markOf(name: string): number {
  let hash = 0x811c9dc5;
  for (const byte of Buffer.from(name)) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  return (0x4e53_0000 | ((hash ^ (hash >>> 16)) & 0xffff)) >>> 0;
}

function readWeights(weights: WeightPolicy | undefined): Required<WeightPolicy> | undefined {
  if (weights === undefined) return undefined;
  checkObject(weights, ['weights'], ['intervalMs', 'maximumStep', 'weightOf']);
  const { intervalMs = DEFAULT_WEIGHT_INTERVAL_MS, maximumStep = DEFAULT_STEP, weightOf } = weights;
  checkInteger(intervalMs, ['weights', 'intervalMs'], 100, 0x7fffffff);
  if (typeof maximumStep !== 'number')
    throw typeError(['weights', 'maximumStep'], 'a number above 0, to 1', maximumStep);
  if (!(maximumStep > 0 && maximumStep <= 1))
    throw rangeError(['weights', 'maximumStep'], 'a number above 0, to 1', maximumStep);
  if (typeof weightOf !== 'function') throw typeError(['weights', 'weightOf'], 'a function', weightOf);
  return { intervalMs, maximumStep, weightOf: (server, declared) => weights.weightOf(server, declared) };
}

/** The redirects by which a server's container takes packets for the service. */
export function redirectsOf(service: DeclaredService, server: DeclaredServer): Redirect[] {
  const { given } = service;
  const { protocol, address } = given;
  const { addresses, marked } = service;
  if (given.forward === 'direct' && given.accept !== 'alias') {
    if (given.port !== undefined) return [{ protocol, address, port: given.port, toPort: server.toPort }];
    // A mark's ports stay as they are: the redirect only makes the packet local.
    return addresses.flatMap(each =>
      marked.map(({ from, to }) => ({ protocol, address: each, port: from === to ? from : { from, to } })),
    );
  }
  if (server.toPort === server.port) return [];
  // Masqueraded packets come to the server's own address, tunnelled ones to the service's.
  return [
    {
      protocol,
      address: given.forward === 'masquerade' ? server.address : address,
      port: server.port,
      toPort: server.toPort,
    },
  ];
}
