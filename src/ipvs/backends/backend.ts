import { isPermission } from '../../errors.ts';
import type { WireCommand, WireDestination, WireService } from '../../ip_vs/attributes.ts';
import type { Exchange, MessageList, Operation, PipelineResult } from '../../netlink/index.ts';
import { type Carrier, type IpvsCommand, type IpvsInfo, NetlinkCarrier } from './netlink.ts';
import type { IpvsTransport } from './socket.ts';
import { SockoptCarrier } from './sockopt.ts';

/** The carriers of one handle. */
export interface Carriers {
  /** Takes the requests. */
  carrier: Carrier;
  /**
   * The socket options, which list IPv4 services, and the IPv4 servers of one, in one call under the kernel's mutex each; undefined where they
   * do not work here.
   */
  options(): SockoptCarrier | undefined;
}

const carriers = new WeakMap<Exchange, Carriers>();

/** The carriers of a handle, made once. */
export function carriersOf(exchange: Exchange): Carriers {
  const known = carriers.get(exchange) ?? makeCarriers(exchange);
  carriers.set(exchange, known);
  return known;
}

function makeCarriers(exchange: Exchange): Carriers {
  const wire = exchange.transport as Partial<IpvsTransport>;
  if (wire.options === undefined) return { carrier: new NetlinkCarrier(exchange), options: () => undefined };
  const open = () => new SockoptCarrier(exchange, (wire as IpvsTransport).options());
  if (wire.via === 'sockopt') {
    const carrier = open();
    return { carrier, options: () => carrier };
  }
  const netlink = new NetlinkCarrier(exchange);
  const options = memoized(open);
  return { carrier: wire.via === 'netlink' ? netlink : new AutomaticCarrier(exchange, netlink, options), options };
}

/** Opens once, and never again where that fails: the socket options are a help, not a need. */
function memoized(open: () => SockoptCarrier): () => SockoptCarrier | undefined {
  let opened: { carrier: SockoptCarrier | undefined } | undefined;
  return () => {
    if (opened === undefined) {
      try {
        opened = { carrier: open() };
      } catch {
        opened = { carrier: undefined };
      }
    }
    return opened.carrier;
  };
}

/** Netlink; from the first refusal for want of permission on, the socket options where those are permitted. */
class AutomaticCarrier implements Carrier {
  readonly #exchange: Exchange;
  readonly #open: () => SockoptCarrier | undefined;
  #current: Carrier;
  /** One of them has been let through: the question is decided. */
  #decided = false;

  constructor(exchange: Exchange, netlink: NetlinkCarrier, open: () => SockoptCarrier | undefined) {
    this.#exchange = exchange;
    this.#current = netlink;
    this.#open = open;
  }

  get via(): 'netlink' | 'sockopt' {
    return this.#current.via;
  }

  info(): Operation<IpvsInfo> {
    return this.#try(carrier => carrier.info());
  }
  request(command: IpvsCommand): Operation<void> {
    return this.#try(carrier => carrier.request(command));
  }
  get<R>(command: IpvsCommand, read: (value: WireCommand) => R | undefined): Operation<R> {
    return this.#try(carrier => carrier.get(command, read));
  }
  dump<R>(command: IpvsCommand, read: (value: WireCommand) => R | undefined): Operation<R[]> {
    return this.#try(carrier => carrier.dump(command, read));
  }
  services(withStats: boolean): Operation<WireService[]> {
    return this.#try(carrier => carrier.services(withStats));
  }
  destinations(service: WireService, withStats: boolean): Operation<WireDestination[]> {
    return this.#try(carrier => carrier.destinations(service, withStats));
  }

  // Asked before many requests, so that the refusals of a whole batch need not be taken apart.
  *pipeline(commands: readonly IpvsCommand[]): Operation<PipelineResult> {
    if (!this.#decided && commands.length > 0) yield* this.info();
    return yield* this.#current.pipeline(commands);
  }
  *stream(
    messages: MessageList,
    command: (index: number) => IpvsCommand,
    begin = 0,
    end = messages.length,
  ): Operation<PipelineResult> {
    if (!this.#decided && begin < end) yield* this.info();
    return yield* this.#current.stream(messages, command, begin, end);
  }

  *#try<R>(call: (carrier: Carrier) => Operation<R>): Operation<R> {
    if (this.#decided) return yield* call(this.#current);
    try {
      const result = yield* call(this.#current);
      this.#decided = true;
      return result;
    } catch (error) {
      if (!isPermission(error)) throw error;
      const other = yield* this.#permitted();
      if (other === undefined) throw error;
      this.#decided = true;
      this.#current = other;
    }
    return yield* call(this.#current);
  }

  /** The socket options, if they answer. */
  *#permitted(): Operation<Carrier | undefined> {
    const other = this.#open();
    if (other === undefined) return undefined;
    try {
      yield* other.info();
    } catch {
      // What netlink said is the better answer.
      return undefined;
    }
    const { observer, transport, operation } = this.#exchange;
    observer.warn(
      { family: 'ipvs', operation, netns: transport.netnsInode, via: 'sockopt' },
      'IPVS over netlink is not permitted here: its socket options are used instead, which carry IPv4 only',
    );
    return other;
  }
}
