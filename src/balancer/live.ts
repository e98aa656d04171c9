import type { Destination, DestinationEntry, VirtualServer } from '../ipvs/index.ts';
import { type DeclaredServer, type DeclaredService, SLOW_START_SCALE } from './declared.ts';

/** The state of a server at one balancer. */
export type ServerCondition = 'healthy' | 'failed' | 'drained';

/** What one balancer knows of one server of a service. */
export class LiveServer {
  declared: DeclaredServer;
  /** The verdict of the checks; true without checks. */
  up: boolean;
  /** Whether its container is as the service needs it. */
  isPrepared = true;
  /** Somebody has asked that it gets no new connections. */
  drained: boolean;
  /** Good or bad results in a row that speak against the verdict. */
  streak = 0;
  /** Why the last check failed. */
  reason: string | undefined;
  /** When its verdict last changed, in milliseconds of performance.now(); undefined if it has not. */
  changedAt: number | undefined;
  /** It is drained and was taken out of IPVS, which ends its last connections. */
  isOut = false;
  /** The weight that measurements or an operator gave it. */
  measured: number | undefined;
  /** When its weight began to rise; undefined once it has its whole weight. */
  risingSince: number | undefined;

  constructor(declared: DeclaredServer, up: boolean, drained: boolean) {
    this.declared = declared;
    this.up = up;
    this.drained = drained;
  }

  get condition(): ServerCondition {
    return this.drained ? 'drained' : this.up ? 'healthy' : 'failed';
  }

  /**
   * Takes the result of a check.
   * @returns whether the verdict has changed
   */
  judge(
    good: boolean,
    reason: string | undefined,
    { rise, fall }: { rise: number; fall: number },
    now: number,
  ): boolean {
    this.reason = good ? undefined : reason;
    if (good === this.up) {
      this.streak = 0;
      return false;
    }
    this.streak++;
    if (this.streak < (good ? rise : fall)) return false;
    this.streak = 0;
    this.up = good;
    this.changedAt = now;
    this.risingSince = good ? now : undefined;
    return true;
  }
}

/** A destination that is no longer declared, and loses its connections. */
export interface Leaving {
  readonly destination: Destination;
  /** In milliseconds of performance.now(). */
  readonly deadline: number;
}

/** A service at one balancer: what its servers are like, and the destinations that follow. */
export class LiveService {
  declared: DeclaredService;
  readonly servers = new Map<string, LiveServer>();
  readonly leaving = new Map<string, Leaving>();
  /** Whether the fallback has the connections. */
  fallen = false;
  /** Whether so many servers fail at once that the checks are not believed. */
  panicking = false;
  /** The destinations as they were last programmed. Undefined: not known. */
  programmed: Map<string, Destination> | undefined;

  constructor(declared: DeclaredService) {
    this.declared = declared;
  }

  /** Takes a new declaration. Servers that stay keep what is known of them. */
  redeclare(declared: DeclaredService, fresh: (server: DeclaredServer) => LiveServer): void {
    this.declared = declared;
    const names = new Set(declared.servers.map(({ name }) => name));
    for (const name of this.servers.keys()) if (!names.has(name)) this.servers.delete(name);
    for (const server of declared.servers) {
      const live = this.servers.get(server.name);
      if (live === undefined || live.declared.address !== server.address || live.declared.port !== server.port)
        this.servers.set(server.name, fresh(server));
      else {
        live.declared = server;
        if (declared.weights === undefined) live.measured = undefined;
      }
    }
    for (const server of [...declared.servers, ...(declared.fallback === undefined ? [] : [declared.fallback])])
      this.leaving.delete(placeOf(server));
  }

  /** Of the healthy servers that are not drained. */
  get liveWeight(): number {
    let sum = 0;
    for (const server of this.servers.values())
      if (server.up && server.isPrepared && !server.drained) sum += server.declared.weight;
    return sum;
  }

  /** As keepalived has it: the quorum is lost below `quorum` - `hysteresis`, or without any server, and gained at `quorum` + `hysteresis`. */
  get hasQuorum(): boolean {
    const { liveWeight } = this;
    const { quorum, hysteresis } = this.declared;
    return this.fallen ? liveWeight >= quorum + hysteresis : liveWeight >= Math.max(1, quorum - hysteresis);
  }

  /** Servers that take connections: if all fail at once and there is no fallback, those that were healthy before are kept. */
  #isTaken(server: LiveServer): boolean {
    return !server.drained && server.isPrepared && (server.up || this.panicking);
  }

  /** The destinations that there should be now. `now` is in milliseconds of performance.now(). */
  destinations(now: number): Map<string, Destination> {
    const { declared } = this;
    const { check, fallback, given } = declared;
    const wanted = new Map<string, Destination>();
    // Connections of a fallback and of servers that have come back do not mix: servers get weight 0 while the fallback serves.
    const fallen = fallback !== undefined && !this.hasQuorum;
    for (const server of this.servers.values()) {
      const { declared: each } = server;
      const absent = !server.up && !this.panicking && check?.onFailure === 'remove';
      if (absent || (server.drained && server.isOut)) continue;
      const weight = !fallen && this.#isTaken(server) ? this.#weightOf(server, now) : 0;
      wanted.set(placeOf(each), destinationOf(each, weight, given.forward));
    }
    if (fallback !== undefined && fallen)
      wanted.set(placeOf(fallback), destinationOf(fallback, Math.max(1, fallback.weight), given.forward));
    for (const [place, { destination }] of this.leaving)
      if (!wanted.has(place)) wanted.set(place, { ...destination, weight: 0 });
    return wanted;
  }

  #weightOf(server: LiveServer, now: number): number {
    const { check } = this.declared;
    const weight = server.measured ?? server.declared.weight;
    const slow = check?.slowStartMs ?? 0;
    if (slow === 0) return weight;
    const whole = weight * SLOW_START_SCALE;
    if (server.risingSince === undefined) return whole;
    const part = Math.min(1, Math.max(0.01, (now - server.risingSince) / slow));
    return Math.max(1, Math.round(whole * part));
  }

  /** As IPVS takes it. */
  virtualServer(now: number): VirtualServer {
    const { given, key } = this.declared;
    const { scheduler, persistence } = given;
    // Without these, clients whose hash leads to a server of weight 0 are refused.
    const flags =
      given.schedulerFlags ??
      (scheduler === 'mh' ? ['mh-fallback' as const] : scheduler === 'sh' ? ['sh-fallback' as const] : undefined);
    return {
      ...key,
      scheduler,
      ...(flags !== undefined && { schedulerFlags: flags }),
      ...(persistence !== undefined && { persistence }),
      destinations: [...this.destinations(now).values()],
    };
  }

  /** The server at an address and port, if it is one of the declared. */
  serverAt({ address, port }: Pick<DestinationEntry, 'address' | 'port'>): LiveServer | undefined {
    for (const server of this.servers.values())
      if (server.declared.address === address && server.declared.port === port) return server;
    return undefined;
  }
}

export const placeOf = ({ address, port }: { address: string; port: number }): string => `${address} ${port}`;

function destinationOf(server: DeclaredServer, weight: number, forward: Destination['forward']): Destination {
  return { address: server.address, port: server.port, forward, weight };
}
