import { checkInteger, checkObject, checkOneOf } from '../codec/index.ts';
import { type Path, typeError } from '../errors.ts';
import { PROTOCOLS, type ServiceKey } from '../ip_vs/service.ts';

/**
 * How a destination that is to go loses its connections. Its weight becomes 0, so that it gets no new ones. It is removed when the connections that
 * the policy waits for have ended, or when the time is over.
 *
 * Some services still send new connections to a destination of weight 0, or refuse them. `reconcile` does not change any setting of the namespace, so:
 *
 * - persistence: clients stay with their destination, which never drains unless `settings.expire_quiescent_template` is on.
 * - sh and mh: give the service the flag sh-fallback or mh-fallback. Without it, clients that hash to the draining destination may be refused.
 * - connections that are left at the end hang, and their packets are dropped, until they expire. With `settings.expire_nodest_conn` they end at once.
 */
export type DrainPolicy =
  | {
      /**
       * Which connections to wait for. 'active' (the default): those that are established or being made. The kernel counts a TCP connection as inactive
       * for two minutes after its end, and a UDP connection always. 'all': inactive ones, too, for destinations that still answer over half-closed
       * connections or UDP. A client that never stops sending from one UDP port then holds the destination until the time is over.
       */
      until?: 'active' | 'all';
      /** How long to wait at most, in milliseconds: 0 to 2^31-1. */
      timeoutMs: number;
      /** How often to look, in milliseconds: 10 to 2^31-1, default 1000. */
      pollMs?: number;
      /**
       * Whether connection tracking forgets the connections that are left: 'end' or 'keep'. It is for masqueraded destinations, where
       * `settings.conntrack` is on. Default 'end' for UDP and 'keep' for the other protocols. With `settings.expire_nodest_conn`, Linux 5.9 and
       * newer end them in any case.
       */
      connections?: 'end' | 'keep';
    }
  /** Do not wait: the destination is removed with the other changes. */
  | { until: 'none' };

/** A policy for each protocol. `default` is for services of the other protocols; without it they are not drained. */
export interface DrainByProtocol {
  /** How TCP services drain. */
  tcp?: DrainPolicy;
  /** How UDP services drain. */
  udp?: DrainPolicy;
  /** How SCTP services drain. */
  sctp?: DrainPolicy;
  /** How services of a firewall mark drain. */
  firewallMark?: DrainPolicy;
  /** How all others drain. */
  default?: DrainPolicy;
}

/**
 * One policy for all services, one for each protocol, or a function that gives the policy of a service (undefined: do not drain). The function is called
 * once for each service that loses destinations.
 */
export type Drain = DrainPolicy | DrainByProtocol | ((service: ServiceKey) => DrainPolicy | undefined);

/** A policy with its defaults; undefined for 'none'. */
export interface Waiting {
  readonly until: 'active' | 'all';
  readonly timeoutMs: number;
  readonly pollMs: number;
  /** Whether tracked connections to this service end. */
  ends(service: ServiceKey): boolean;
}

const POLICY = ['until', 'timeoutMs', 'pollMs', 'connections'];
const PROTOCOL_NAMES = ['tcp', 'udp', 'sctp', 'firewallMark', 'default'] as const;
const POLL = 1000;
const MAX_WAIT = 0x7fffffff;

/**
 * Checks the caller's policies. Returns a function that gives the policy of a service.
 * @throws TypeError, RangeError
 */
export function readDrain(drain: Drain | undefined, path: Path): (service: ServiceKey) => Waiting | undefined {
  if (drain === undefined) return () => undefined;
  if (typeof drain === 'function') {
    return service => {
      const policy = drain(service);
      return policy === undefined ? undefined : readPolicy(policy, [...path, 'policy']);
    };
  }
  checkObject(drain, path, [...POLICY, ...PROTOCOL_NAMES]);
  const given = PROTOCOL_NAMES.filter(name => (drain as DrainByProtocol)[name] !== undefined);
  if (given.length === 0) {
    const policy = readPolicy(drain as DrainPolicy, path);
    return () => policy;
  }
  checkObject(drain, path, PROTOCOL_NAMES);
  const byProtocol = new Map(given.map(name => [name, readPolicy((drain as DrainByProtocol)[name]!, [...path, name])]));
  return service => {
    const name = protocolOf(service);
    return name !== undefined && byProtocol.has(name) ? byProtocol.get(name) : byProtocol.get('default');
  };
}

function protocolOf(service: ServiceKey): 'tcp' | 'udp' | 'sctp' | 'firewallMark' | undefined {
  if ('firewallMark' in service) return 'firewallMark';
  const { protocol } = service;
  if (typeof protocol === 'string') return protocol;
  return (Object.keys(PROTOCOLS) as (keyof typeof PROTOCOLS)[]).find(name => PROTOCOLS[name] === protocol);
}

function readPolicy(policy: DrainPolicy, path: Path): Waiting | undefined {
  checkObject(policy, path, POLICY);
  const until = policy.until === undefined ? 'active' : checkOneOf(policy.until, [...path, 'until'], UNTIL);
  const {
    timeoutMs,
    pollMs = POLL,
    connections,
  } = policy as { timeoutMs?: number; pollMs?: number; connections?: unknown };
  if (connections !== undefined) checkOneOf(connections, [...path, 'connections'], ['end', 'keep'] as const);
  if (timeoutMs !== undefined || until !== 'none') checkInteger(timeoutMs, [...path, 'timeoutMs'], 0, MAX_WAIT);
  checkInteger(pollMs, [...path, 'pollMs'], 10, MAX_WAIT);
  if (until === 'none') return undefined;
  if (timeoutMs === undefined) throw typeError([...path, 'timeoutMs'], 'a time in milliseconds', timeoutMs);
  const ends = (service: ServiceKey) =>
    connections === undefined ? protocolOf(service) === 'udp' : connections === 'end';
  return { until, timeoutMs, pollMs, ends };
}

const UNTIL = ['active', 'all', 'none'] as const;
