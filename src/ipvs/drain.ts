import { checkInteger, checkObject, checkOneOf } from '../codec/index.ts';
import { type Path, typeError } from '../errors.ts';
import { PROTOCOLS, type ServiceKey } from '../ip_vs/service.ts';

/**
 * How a server that is to go loses its connections: its weight becomes 0, so that it gets no new ones, and it is removed when those that are waited
 * for have ended, or when the time is over.
 *
 * Some services send new connections to a server of weight 0 all the same, or refuse them; `reconcile` changes no setting of the namespace by itself:
 *
 * - persistence: clients that the server is known to serve go on to it, and it never drains, unless `settings.expire_quiescent_template` is on.
 * - sh and mh: give the service the flag sh-fallback or mh-fallback, or clients that hash to the draining server may be refused.
 * - what is left at the end hangs, its packets dropped, until it expires. With `settings.expire_nodest_conn` on it ends at once.
 */
export type DrainPolicy =
  | {
      /**
       * 'active', the default: connections that are established or being made. A TCP connection that has ended is counted as inactive for two more
       * minutes, and a UDP one always: neither is waited for. 'all': inactive ones too, for servers that go on answering over half-closed connections,
       * or UDP; a client that never stops sending from one UDP port holds the server until the time is over.
       */
      until?: 'active' | 'all';
      /** How long to wait at most, 0 to 2^31-1. */
      timeoutMs: number;
      /** How often to look, 10 to 2^31-1; default 1000. */
      pollMs?: number;
    }
  /** Nothing: the server is removed with the other changes. */
  | { until: 'none' };

/** A policy for the services of each protocol; those of no entry fall under `default`, and without that are not drained. */
export interface DrainByProtocol {
  tcp?: DrainPolicy;
  udp?: DrainPolicy;
  sctp?: DrainPolicy;
  firewallMark?: DrainPolicy;
  default?: DrainPolicy;
}

/**
 * One policy for all services, one for each protocol, or a function that says it of each service (undefined: it is not drained). The function is
 * called once for each service that loses servers.
 */
export type Drain = DrainPolicy | DrainByProtocol | ((service: ServiceKey) => DrainPolicy | undefined);

/** A policy with its defaults; undefined for 'none'. */
export interface Waiting {
  readonly until: 'active' | 'all';
  readonly timeoutMs: number;
  readonly pollMs: number;
}

const POLICY = ['until', 'timeoutMs', 'pollMs'];
const PROTOCOL_NAMES = ['tcp', 'udp', 'sctp', 'firewallMark', 'default'] as const;
const POLL = 1000;
const MAX_WAIT = 0x7fffffff;

/**
 * Reads what a caller gave. Returns what says of each service how it is drained.
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
  const { timeoutMs, pollMs = POLL } = policy as Partial<Waiting>;
  if (timeoutMs !== undefined || until !== 'none') checkInteger(timeoutMs, [...path, 'timeoutMs'], 0, MAX_WAIT);
  checkInteger(pollMs, [...path, 'pollMs'], 10, MAX_WAIT);
  if (until === 'none') return undefined;
  if (timeoutMs === undefined) throw typeError([...path, 'timeoutMs'], 'a time in milliseconds', timeoutMs);
  return { until, timeoutMs, pollMs };
}

const UNTIL = ['active', 'all', 'none'] as const;
