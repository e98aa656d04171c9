import type { Container, LogRule } from '../container/index.ts';
import type { Drain, Persistence, SchedulerFlag } from '../ipvs/index.ts';
import type { HealthCheck } from './health/declaration.ts';
import type { WeightPolicy } from './weights.ts';

/** The transport protocols that a service can have. */
export type BalancedProtocol = 'tcp' | 'udp' | 'sctp';

/** How a balancer sends packets to the servers of a service. */
export type BalancedForward = 'direct' | 'masquerade' | 'tunnel';

/** A real server. */
export interface BalancedServer {
  /** Its name, in events, `status()` and metrics: 1 to 63 letters, digits, '.', '_' and '-'. Default: address and port. */
  name?: string;
  /** The address by which the balancers reach it. */
  address: string;
  /** The port by which the balancers reach it. Default: the service's port; other ports are for 'masquerade' only. */
  port?: number;
  /** Its container, if this process programs it: the redirect, the log, the devices and settings that the forwarding method needs. */
  container?: Container;
  /** The port at which its program listens, in its container. Default: `port`. */
  toPort?: number;
  /** Its share of the connections, 0 to 65,535, default 1. */
  weight?: number;
  /** Logs the first packet of each of its connections, and all others that match: a log rule of its container. */
  log?: Pick<LogRule, 'group' | 'prefix' | 'level'>;
}

/** A port or a range of ports of a service that is known by a firewall mark. */
export type MarkedPort =
  | number
  | {
      /** The first port of a range, 1 to 65,535. */
      from: number;
      /** The last port of a range, 1 to 65,535, not below `from`. */
      to: number;
    };

/**
 * A service, its servers and what keeps it alive. The service is known by an address and a port, or by an address and many ports: IPVS then
 * balances all of them as one service, by a firewall mark that a rule of the balancer sets.
 */
export interface BalancedService {
  /** Its name: 1 to 63 letters, digits, '.', '_' and '-'. It is unique in a declaration. */
  name: string;
  /** The transport protocol. */
  protocol: BalancedProtocol;
  /** The address that clients connect to. */
  address: string;
  /** The port that clients connect to. Give `port` or `firewallMark`. */
  port?: number;
  /** The ports that clients connect to, balanced as one service. The library chooses the mark. */
  firewallMark?: readonly MarkedPort[];
  /** With `firewallMark`: more addresses of the same service, of the same IP version. `device` and `label` are for these, too. */
  moreAddresses?: readonly string[];
  /** How connections are spread, as in IPVS: 'rr', 'wlc', 'mh' and others. */
  scheduler: string;
  /** The scheduler's flags, as in IPVS. */
  schedulerFlags?: SchedulerFlag[];
  /** How balancers send packets to the servers. */
  forward: BalancedForward;
  /** A client's connections go to one server, for a time. */
  persistence?: Persistence;
  /** The balancers' device that gets the address. Default: none does, and somebody else adds the address. */
  device?: string;
  /** IPv4: the label of the address on that device, at most 15 bytes; such as 'eth0:web'. */
  label?: string;
  /** The servers. Their order does not matter. */
  servers: readonly BalancedServer[];
  /** How servers are checked. Default: they are not, and all are taken as healthy. */
  health?: HealthCheck;
  /**
   * How a server that leaves loses its connections: a policy, one for each protocol, or a function. Those that are left at the end are ended by the
   * kernel (`net.ipv4.vs.expire_nodest_conn`). Default: none; it is removed at once.
   */
  drain?: Drain;
  /** The server that gets all connections while the quorum is lost. */
  fallback?: BalancedServer;
  /** The sum of the weights of healthy servers below which the quorum is lost, 1 to 65,535. Default 1. */
  quorum?: number;
  /** The quorum is lost below `quorum` - `hysteresis`, and gained at `quorum` + `hysteresis`: 0 to 65,535, default 0. */
  hysteresis?: number;
  /** Weights from measurements. Default: the declared ones. */
  weights?: WeightPolicy;
  /**
   * 'direct': how servers in containers take packets for the service's address. 'redirect' (the default): by a REDIRECT rule. 'alias': by the
   * address on their loopback device, with arp_ignore and arp_announce; `toPort` is not for it.
   */
  accept?: 'redirect' | 'alias';
  /**
   * 'masquerade': how replies find the way back through the balancer. 'none' (the default): the network sees to it. 'route': the default
   * route of servers in containers leads to `route`. 'snat': the balancer puts its own address in place of the client's.
   */
  replies?:
    | 'none'
    | 'snat'
    | {
        /** The gateway: an address of the balancer in the servers' network. */
        route: string;
      };
}
