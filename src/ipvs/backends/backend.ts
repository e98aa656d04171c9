import type { WireCommand, WireDestination, WireService } from '../../ip_vs/attributes.ts';
import type { Command, EncodedRequests, Operation, PipelineResult } from '../../netlink/index.ts';

/** A request to IPVS as netlink has it. The backend of the socket options translates it. */
export type IpvsCommand = Command<WireCommand>;

/** What the kernel says of its IPVS. */
export interface IpvsInfo {
  /** The version of the IPVS code: '1.2.1' in every kernel since 2010, so it does not tell which features there are. */
  version: string;
  /** Buckets of the connection table; 0 on Linux 7.2 until the namespace has its first service. */
  connectionTableSize: number;
}

/** A way to the IPVS of one namespace. Both backends take requests as netlink has them, and give answers of the same form. */
export interface Backend {
  readonly via: 'netlink' | 'sockopt';
  info(): Operation<IpvsInfo>;
  request(command: IpvsCommand): Operation<void>;
  get<R>(command: IpvsCommand, read: (value: WireCommand) => R | undefined): Operation<R>;
  /** Lists all objects of a kind. The list is empty for a service that does not exist. */
  dump<R>(command: IpvsCommand, read: (value: WireCommand) => R | undefined): Operation<R[]>;
  /** All services. Without `withStats` their counters may be left out. */
  services(withStats: boolean): Operation<WireService[]>;
  /** The destinations of a service; an empty list if there is no such service. */
  destinations(service: WireService, withStats: boolean): Operation<WireDestination[]>;
  /** Many requests at once; one that fails does not stop the rest. */
  pipeline(commands: readonly IpvsCommand[]): Operation<PipelineResult>;
  /** As `pipeline`, with encoded requests: those from index `begin` up to `end`. `command` gives the request of an index, for its error. */
  stream(
    messages: EncodedRequests,
    command: (index: number) => IpvsCommand,
    begin?: number,
    end?: number,
  ): Operation<PipelineResult>;
}
