import { type BalancedServer, type BalancedService, readService } from '../balancer/internal.ts';
import { checkObject, formatIPv6, parseIPv6 } from '../codec/index.ts';
import { type Path, rangeError, typeError } from '../errors.ts';

/** A server of a service of many hosts. */
export interface ClusterServer extends Omit<BalancedServer, 'container'> {
  /** The host that it runs on. While that host is gone, it gets no connections. */
  host: string;
  /** The name of its container, as `containers` of that host knows it. Left out: the host only vouches for it. */
  container?: string;
}

/** A service of many hosts. It is stored as JSON: checks by functions, and patterns, are not for it. */
export interface ClusterService extends Omit<BalancedService, 'servers' | 'fallback' | 'weights'> {
  /** The names of the containers that may balance it. One of them has the address, the others are ready. */
  balancers: readonly string[];
  /** The servers, on all hosts. */
  servers: readonly ClusterServer[];
  /** The server that gets all connections while the quorum is lost. */
  fallback?: ClusterServer;
}

const NAME = /^[A-Za-z0-9._-]{1,63}$/;
const NAME_RULE = "1 to 63 letters, digits, '.', '_' and '-'";
/** etcd takes 1.5 MiB; one declaration is far from that. */
const MOST_BYTES = 512 * 1024;
/** The version of what is written to etcd. */
export const SCHEMA = 1;

export function checkHostName(name: unknown, path: Path): string {
  if (typeof name !== 'string') throw typeError(path, NAME_RULE, name);
  if (!NAME.test(name)) throw rangeError(path, NAME_RULE, name);
  return name;
}

/** @throws TypeError, RangeError with the path */
export function checkClusterService(service: ClusterService): void {
  if (typeof service !== 'object' || service === null) throw typeError([], 'a service', service);
  const { balancers, servers, fallback, health, ...rest } = service;
  if (!Array.isArray(balancers)) throw typeError(['balancers'], 'an array of names', balancers);
  if (balancers.length === 0) throw rangeError(['balancers'], 'at least one name', balancers);
  for (const [i, name] of balancers.entries()) {
    checkHostName(name, ['balancers', i]);
    if (balancers.indexOf(name) !== i)
      throw rangeError(['balancers', i], 'a name that is not there yet', name, 'ERR_DUPLICATE');
  }
  if (!Array.isArray(servers)) throw typeError(['servers'], 'an array of servers', servers);
  for (const [i, server] of servers.entries()) checkServer(server, ['servers', i]);
  if (fallback !== undefined) checkServer(fallback, ['fallback']);
  if (health?.exec !== undefined)
    throw typeError(['health', 'exec'], 'no function: a service of a cluster is stored as JSON', health.exec);
  if (service.device === undefined)
    throw typeError(['device'], "the balancers' device that gets the address", undefined);
  const { body } = (
    typeof health?.http === 'object' ? health.http : typeof health?.https === 'object' ? health.https : {}
  ) as { body?: unknown };
  if (body instanceof RegExp)
    throw typeError(['health'], 'a text as `body`: a service of a cluster is stored as JSON', body);
  // The rest is checked as a service of one process is. Containers are known on their hosts only.
  const local = {
    ...rest,
    ...(health !== undefined && { health }),
    servers: servers.map(localServer),
    ...(fallback !== undefined && { fallback: localServer(fallback) }),
  };
  readService(local as BalancedService, true);
}

/** Why two services cannot both be: they take the same packets, or share an address that one of the balancers would have for both. */
export function conflictOf(service: ClusterService, other: ClusterService): Error | undefined {
  if (canonicalAddress(service.address) !== canonicalAddress(other.address)) return undefined;
  const named = (path: Path, what: string, value: unknown) => rangeError(path, what, value, 'ERR_CONFLICT');
  if (service.device !== other.device)
    return named(['device'], `the device of the service ${other.name}, which has the same address`, service.device);
  if ([...service.balancers].sort().join(' ') !== [...other.balancers].sort().join(' '))
    return named(['balancers'], `those of the service ${other.name}, which has the same address`, service.balancers);
  if (service.protocol !== other.protocol) return undefined;
  const overlaps = rangesOf(service).some(mine =>
    rangesOf(other).some(theirs => mine.from <= theirs.to && theirs.from <= mine.to),
  );
  return overlaps
    ? named(
        [service.port === undefined ? 'firewallMark' : 'port'],
        `a port that the service ${other.name} does not have`,
        service.port ?? service.firewallMark,
      )
    : undefined;
}

function rangesOf({ port, firewallMark = [] }: ClusterService): { from: number; to: number }[] {
  const ports = port === undefined ? firewallMark : [port];
  return ports.map(each => (typeof each === 'number' ? { from: each, to: each } : each));
}

/** One spelling of an address: two would have a holder each. */
export function canonicalAddress(address: string): string {
  const bytes = parseIPv6(address);
  return bytes === undefined ? address : formatIPv6(bytes);
}

function checkServer(server: ClusterServer, path: Path): void {
  checkObject(server, path, ['host', 'container', 'name', 'address', 'port', 'toPort', 'weight', 'log']);
  checkHostName(server.host, [...path, 'host']);
  if (server.container !== undefined) checkHostName(server.container, [...path, 'container']);
}

/** A server as a balancer takes it. */
export function localServer({ host: _host, container: _container, ...server }: ClusterServer): BalancedServer {
  return server;
}

/** As it is stored. @throws RangeError it is too large */
export function toStored(service: ClusterService): string {
  const text = JSON.stringify({ schema: SCHEMA, service });
  if (Buffer.byteLength(text) > MOST_BYTES)
    throw rangeError([], `a declaration of at most ${MOST_BYTES} bytes`, service.name);
  return text;
}

/** @throws TypeError, RangeError what is stored is no service that this version knows */
export function fromStored(text: string, name: string): ClusterService {
  if (text.length > MOST_BYTES) throw rangeError([], `a declaration of at most ${MOST_BYTES} bytes`, `${text.length}`);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw typeError([], 'JSON', text.slice(0, 100));
  }
  const { schema, service } = (value ?? {}) as { schema?: unknown; service?: ClusterService };
  if (schema !== SCHEMA) throw rangeError(['schema'], `${SCHEMA}: this version of netsteer knows no other`, schema);
  checkClusterService(service!);
  if (service!.name !== name) throw rangeError(['name'], `the name of its key, ${name}`, service!.name);
  return service!;
}

/** The part of a service that a load balancer of one process takes. The address is held by an election. */
export function withoutCluster({
  balancers: _balancers,
  fallback: _fallback,
  device: _device,
  label: _label,
  ...service
}: ClusterService): BalancedService {
  return service as unknown as BalancedService;
}

/** With 'direct' and 'tunnel', a server's own address has the program's port, not the service's. */
export function portToCheck({ servers, port }: ClusterService): number | undefined {
  const ports = new Set(servers.map(({ toPort, port: own }) => toPort ?? own ?? port));
  return ports.size === 1 ? [...ports][0] : undefined;
}
