import type { WireCommand, WireDestination, WireService } from '../../ip_vs/attributes.ts';
import type { Command, EncodedRequests, Operation, PipelineResult } from '../../netlink/index.ts';

/** One request to IPVS, as netlink has it. The other backend translates it. */
export type IpvsCommand = Command<WireCommand>;

/** What the kernel says of its IPVS. */
export interface IpvsInfo {
  /** Of the IPVS code, '1.2.1' in every kernel of the last decade: no help in telling features. */
  version: string;
  /** Buckets of the connection table; 0 on Linux 7.2 until the namespace has its first service. */
  connectionTableSize: number;
}

/** A way to the IPVS of one namespace. All of them take the requests of netlink and give answers of its form. */
export interface Backend {
  readonly via: 'netlink' | 'sockopt';
  info(): Operation<IpvsInfo>;
  request(command: IpvsCommand): Operation<void>;
  get<R>(command: IpvsCommand, read: (value: WireCommand) => R | undefined): Operation<R>;
  /** All objects of a kind; of a service that is not there, an empty list. */
  dump<R>(command: IpvsCommand, read: (value: WireCommand) => R | undefined): Operation<R[]>;
  /** All services. Without `withStats` their counters may be left out. */
  services(withStats: boolean): Operation<WireService[]>;
  /** The servers of a service; none where there is no such service. */
  destinations(service: WireService, withStats: boolean): Operation<WireDestination[]>;
  /** Many requests at once; one that fails does not stop the rest. */
  pipeline(commands: readonly IpvsCommand[]): Operation<PipelineResult>;
  /** As `pipeline`, of requests that are encoded: those from `begin` up to `end`, by which all indexes count. `command` tells what one is. */
  stream(
    messages: EncodedRequests,
    command: (index: number) => IpvsCommand,
    begin?: number,
    end?: number,
  ): Operation<PipelineResult>;
}
